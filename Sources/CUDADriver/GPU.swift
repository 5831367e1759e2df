// SPDX-License-Identifier: Apache-2.0

internal import Support

/// One GPU as one thread uses it: its memory, and one queue in which all is done in order.
///
/// Confined to the thread that made it. Nothing but `synchronize` and `Fence.wait` waits. What was
/// allocated lives as long as this object.
package final class GPU {
  package let properties: GPUProperties
  let driver: CUDADriver
  let context: PrimaryContext
  let stream: UnsafeMutableRawPointer
  private let configuration: LaunchConfiguration
  private let plainConfiguration: LaunchConfiguration
  private let togetherConfiguration: LaunchConfiguration
  /// Whether the next kernel must not begin before the one in front is done; see `launchFirst`.
  private var followsFirst = false
  private var allocations: [GPUAllocation] = []
  var pinned: [UnsafeMutableRawPointer] = []
  private var modules: [UnsafeMutableRawPointer] = []
  private var fences: [UnsafeMutableRawPointer] = []
  private var graphs: [UnsafeMutableRawPointer] = []
  /// Memory that is mapped here and belongs to no process.
  var mappings: [(address: UInt64, byteCount: Int)] = []
  /// Memory that crosses to or from another queue, kept until this one has ended.
  var peerMemory: [PeerMemory] = []
  /// Likewise, its own or others'.
  var peerPieces: [PeerPieces] = []
  /// The step that is on its way, for messages; nil while loading.
  package var step: UInt64?
  /// What was launched last: a fault shows at some later call.
  private var lastKernel: String?
  /// Where launches go that are to be known and not queued.
  private var collector: Collector?

  package init(_ driver: CUDADriver, index: Int) throws(CUDAError) {
    self.driver = driver
    properties = try driver.properties(of: index)
    let functions = driver.functions
    context = try PrimaryContext(driver, properties)
    var stream: UnsafeMutableRawPointer?
    var status = functions.setContext(context.handle)
    // Not the default queue, which waits for those of others.
    if status == 0 { status = functions.createStream(&stream, 1) }
    guard status == 0, let stream else {
      throw driver.error(DriverStatus(rawValue: status), "\(properties.place): to begin")
    }
    self.stream = stream
    // Later GPUs compile the kernels' PTX, which is older than the words to wait with.
    configuration = LaunchConfiguration(
      stream: stream, properties.capability == 90 ? .programmaticSerialization : nil)
    plainConfiguration = LaunchConfiguration(stream: stream, nil)
    togetherConfiguration = LaunchConfiguration(stream: stream, .cooperative)
  }

  deinit {
    // The context may end here, and is not left to the thread, which may use another GPU.
    _ = context.asCurrent {
      let functions = driver.functions
      _ = functions.synchronizeStream(stream)
      for graph in graphs { _ = functions.destroyExecutableGraph(graph) }
      for fence in fences { _ = functions.destroyEvent(fence) }
      for memory in pinned { _ = functions.freePinned(memory) }
      unmapAll()
      for module in modules { _ = functions.unloadModule(module) }
      return functions.destroyStream(stream)
    }
  }

  /// Makes the calls of this thread ones of this GPU, after those of another. To be called before
  /// all others where a thread uses several.
  package func makeCurrent() throws(CUDAError) {
    try expect(driver.functions.setContext(context.handle), "cuCtxSetCurrent")
  }

  // MARK: Memory

  package func freeBytes() throws(CUDAError) -> Int {
    var free = 0
    var total = 0
    try expect(driver.functions.memoryInfo(&free, &total), "cuMemGetInfo")
    return free
  }

  /// Memory of the GPU, aligned to 256 bytes.
  package func allocate(_ byteCount: Int) throws(CUDAError) -> UInt64 {
    var address: UInt64 = 0
    try expect(
      driver.functions.allocate(&address, max(1, byteCount)), "cuMemAlloc of \(byteCount) bytes")
    keep(address, byteCount)
    return address
  }

  /// To be freed with this object, or with the last that others hold of it.
  func keep(_ address: UInt64, _ byteCount: Int) {
    allocations.append(GPUAllocation(address: address, byteCount: byteCount, context: context))
  }

  /// What an address lies in; nil if it was not allocated here.
  func allocation(of address: UInt64) -> GPUAllocation? {
    allocations.first { $0.holds(address) }
  }

  package func free(_ address: UInt64) throws(CUDAError) {
    guard let index = allocations.firstIndex(where: { $0.address == address }) else { return }
    try expect(allocations.remove(at: index).free(), "cuMemFree")
  }

  /// Queues a copy from pinned memory, which must stay as it is until then.
  package func copyIn(
    to address: UInt64, from source: UnsafeRawPointer, byteCount: Int
  ) throws(CUDAError) {
    if byteCount == 0 { return }
    try expect(
      driver.functions.copyIn(address, source, byteCount, stream), "cuMemcpyHtoDAsync")
  }

  /// Queues a copy to pinned memory.
  package func copyOut(
    to destination: UnsafeMutableRawPointer, from address: UInt64, byteCount: Int
  ) throws(CUDAError) {
    if byteCount == 0 { return }
    try expect(
      driver.functions.copyOut(destination, address, byteCount, stream), "cuMemcpyDtoHAsync")
  }

  package func zero(_ address: UInt64, byteCount: Int) throws(CUDAError) {
    if byteCount == 0 { return }
    try expect(driver.functions.fill(address, 0, byteCount, stream), "cuMemsetD8Async")
  }

  // MARK: Order

  /// Waits until all that was queued is done.
  package func synchronize() throws(CUDAError) {
    try expect(driver.functions.synchronizeStream(stream), "cuStreamSynchronize")
  }

  /// A place in the queue that can be waited for.
  package struct Fence {
    fileprivate let event: UnsafeMutableRawPointer
  }

  /// - Parameter isTimed: whether `seconds` is asked of it, which costs.
  package func makeFence(isTimed: Bool = false) throws(CUDAError) -> Fence {
    let event = try makeEvent(isTimed: isTimed)
    fences.append(event)
    return Fence(event: event)
  }

  /// One that whoever asks destroys.
  func makeEvent(isTimed: Bool = false) throws(CUDAError) -> UnsafeMutableRawPointer {
    var event: UnsafeMutableRawPointer?
    try expect(driver.functions.createEvent(&event, isTimed ? 0 : 2), "cuEventCreate")
    guard let event else { throw CUDAError(.internal, "\(place): cuEventCreate gave nothing") }
    return event
  }

  /// Moves the fence behind all that is queued by now.
  package func record(_ fence: Fence) throws(CUDAError) {
    try expect(driver.functions.recordEvent(fence.event, stream), "cuEventRecord")
  }

  package func wait(for fence: Fence) throws(CUDAError) {
    try expect(driver.functions.synchronizeEvent(fence.event), "cuEventSynchronize")
  }

  /// Waits for both, and gives the time between them.
  package func seconds(from start: Fence, to end: Fence) throws(CUDAError) -> Double {
    try wait(for: end)
    var milliseconds: Float = 0
    try expect(
      driver.functions.elapsedTime(&milliseconds, start.event, end.event), "cuEventElapsedTime")
    return Double(milliseconds) / 1_000
  }

  // MARK: Kernels

  /// A kernel and the threads of its blocks.
  package struct Kernel {
    package let name: String
    let function: UnsafeMutableRawPointer
    package fileprivate(set) var threads: Int
    /// Of a block, beside what the kernel declares.
    package fileprivate(set) var sharedBytes: Int

    /// With fewer threads a block, and no more shared memory.
    package func sized(threads: Int, sharedBytes: Int) -> Kernel {
      check(
        threads <= self.threads && sharedBytes <= self.sharedBytes, "\(name) cannot be larger")
      var sized = self
      sized.threads = threads
      sized.sharedBytes = sharedBytes
      return sized
    }
  }

  /// Kernels in machine code or PTX ("fat binary").
  package func load(_ image: UnsafeRawBufferPointer, from path: String) throws(CUDAError) -> Module
  {
    guard let start = image.baseAddress else {
      throw CUDAError(.failedPrecondition, "\(path) is empty; expected the GPU's kernels")
    }
    var module: UnsafeMutableRawPointer?
    let status = DriverStatus(rawValue: driver.functions.loadModule(&module, start))
    guard status == .success, let module else {
      throw driver.error(
        status, "\(place) (compute capability \(properties.capability)): to load \(path)")
    }
    modules.append(module)
    return Module(handle: module)
  }

  package struct Module { let handle: UnsafeMutableRawPointer }

  /// - Parameter sharedBytes: shared memory of a block beside what the kernel declares.
  package func kernel(
    _ name: String, of module: Module, threads: Int, sharedBytes: Int = 0
  ) throws(CUDAError) -> Kernel {
    var function: UnsafeMutableRawPointer?
    try expect(
      driver.functions.moduleFunction(&function, module.handle, name),
      "cuModuleGetFunction of \(name)")
    guard let function else { throw CUDAError(.internal, "\(place): no kernel \(name)") }
    // Without being asked, the driver gives 48 KiB less what the kernel declares.
    if sharedBytes > 0 {
      try expect(
        driver.functions.setFunctionAttribute(function, 8, Int32(sharedBytes)),
        "cuFuncSetAttribute of \(name)")
    }
    return Kernel(name: name, function: function, threads: threads, sharedBytes: sharedBytes)
  }

  /// Queues a kernel; `argument` is copied.
  package func launch(
    _ kernel: Kernel, x: Int, y: Int = 1, z: Int = 1, argument: UnsafeMutableRawPointer
  ) throws(CUDAError) {
    if x == 0 || y == 0 || z == 0 { return }
    check(
      x <= Int32.max && y <= 65_535 && z <= 65_535,
      "\(kernel.name) has too many blocks: \(x), \(y), \(z)")
    if let collector { return collector(kernel, (x, y, z), UnsafeRawPointer(argument)) }
    try launch(kernel, followsFirst ? plainConfiguration : configuration, (x, y, z), argument)
  }

  /// The same with an argument that lies nowhere yet.
  package func launch<Argument: BitwiseCopyable>(
    _ kernel: Kernel, x: Int, y: Int = 1, z: Int = 1, with argument: Argument
  ) throws(CUDAError) {
    var argument = argument
    try withUnsafeMutablePointer(to: &argument) { place throws(CUDAError) in
      try launch(kernel, x: x, y: y, z: z, argument: place)
    }
  }

  /// Queues a kernel of one block whose results all behind it read without waiting, however early
  /// they begin: it begins when all in front of it is done, and the next one when it is.
  package func launchFirst<Argument: BitwiseCopyable>(
    _ kernel: Kernel, with argument: Argument
  ) throws(CUDAError) {
    var argument = argument
    try withUnsafeMutablePointer(to: &argument) { place throws(CUDAError) in
      try launch(kernel, plainConfiguration, (1, 1, 1), place)
    }
    followsFirst = true
  }

  /// Queues a kernel all of whose blocks are on the GPU together: no more than `blocksTogether`.
  package func launchTogether<Argument: BitwiseCopyable>(
    _ kernel: Kernel, blocks: Int, with argument: Argument
  ) throws(CUDAError) {
    var argument = argument
    try withUnsafeMutablePointer(to: &argument) { place throws(CUDAError) in
      try launch(kernel, togetherConfiguration, (blocks, 1, 1), place)
    }
  }

  /// How many blocks of a kernel the GPU holds.
  package func blocksTogether(of kernel: Kernel) throws(CUDAError) -> Int {
    var blocks: Int32 = 0
    try expect(
      driver.functions.blocksOfMultiprocessor(
        &blocks, kernel.function, Int32(kernel.threads), kernel.sharedBytes),
      "cuOccupancyMaxActiveBlocksPerMultiprocessor of \(kernel.name)")
    guard blocks > 0 else {
      throw CUDAError(.unimplemented, "\(place) has no room for a block of \(kernel.name)")
    }
    return Int(blocks) * properties.multiprocessors
  }

  private func launch(
    _ kernel: Kernel, _ configuration: LaunchConfiguration, _ blocks: Blocks,
    _ argument: UnsafeMutableRawPointer
  ) throws(CUDAError) {
    lastKernel = kernel.name
    followsFirst = false
    var parameter: UnsafeMutableRawPointer? = argument
    let launch = configuration(
      blocks: (UInt32(blocks.x), UInt32(blocks.y), UInt32(blocks.z)),
      threads: UInt32(kernel.threads), sharedBytes: UInt32(kernel.sharedBytes))
    let status = driver.functions.launch(launch, kernel.function, &parameter, nil)
    if status != 0 { try expect(status, "cuLaunchKernelEx of \(kernel.name)") }
  }

  package typealias Blocks = (x: Int, y: Int, z: Int)
  /// Gets a kernel, its grid, and its argument, which is good until it returns.
  package typealias Collector = (Kernel, Blocks, UnsafeRawPointer) -> Void

  /// Gives the kernels that `body` would queue to `collector`.
  package func collect(
    _ collector: @escaping Collector, from body: () throws(CUDAError) -> Void
  ) throws(CUDAError) {
    self.collector = collector
    defer { self.collector = nil }
    try body()
  }

  // MARK: Graphs

  /// Kernels that are queued by one call.
  package struct Graph {
    fileprivate let executable: UnsafeMutableRawPointer
  }

  /// Notes the kernels that `body` queues, in place of queueing them.
  package func capture(_ body: () throws(CUDAError) -> Void) throws(CUDAError) -> Graph {
    let functions = driver.functions
    // 1: what other threads do meanwhile is no concern of this queue.
    try expect(functions.beginCapture(stream, 1), "cuStreamBeginCapture")
    var failure: CUDAError?
    do throws(CUDAError) { try body() } catch { failure = error }
    var graph: UnsafeMutableRawPointer?
    let status = functions.endCapture(stream, &graph)
    defer { if let graph { _ = functions.destroyGraph(graph) } }
    if let failure { throw failure }
    try expect(status, "cuStreamEndCapture")
    guard let graph else { throw CUDAError(.internal, "\(place): cuStreamEndCapture gave nothing") }
    var executable: UnsafeMutableRawPointer?
    try expect(functions.instantiateGraph(&executable, graph, 0), "cuGraphInstantiate")
    guard let executable else {
      throw CUDAError(.internal, "\(place): cuGraphInstantiate gave nothing")
    }
    graphs.append(executable)
    return Graph(executable: executable)
  }

  package func launch(_ graph: Graph) throws(CUDAError) {
    lastKernel = "(any of a step's graph)"
    // Nothing of a graph begins before all in front of it is done.
    followsFirst = false
    try expect(driver.functions.launchGraph(graph.executable, stream), "cuGraphLaunch")
  }

  // MARK: Errors

  var place: String { "cuda:\(properties.index)" }

  func expect(_ status: DriverFunctions.Status, _ call: String) throws(CUDAError) {
    guard status != 0 else { return }
    var what = "\(place): \(call)"
    if let step { what += " in step \(step)" }
    if let lastKernel, !call.hasPrefix("cuLaunchKernel") { what += ", after kernel \(lastKernel)," }
    throw driver.error(DriverStatus(rawValue: status), what)
  }
}
