// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Support
import TestSupport
import Testing

/// What NVIDIA's driver refuses of handles, contexts and the order of calls; the emulated one must
/// too, and never crash.
@Suite struct DriverRuleTests {
  typealias Word = EmulatedDriver.Word

  private let driver: EmulatedDriver
  private let context, stream: EmulatedDriver.Word

  init() throws {
    driver = try EmulatedDriver()
    context = try driver.context()
    stream = try driver.stream()
  }

  private func bytes(at address: Word, _ count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count))
  }

  // MARK: Handles

  @Test func `what is no handle, or none any more, is an error`() throws {
    let module = try driver.module()
    let function = try driver.function("narrow", of: module)
    #expect(try driver.function("narrow", of: module) == function)
    let event = try driver.made("cuEventCreate", 0)
    let memory = try driver.made("cuMemAlloc_v2", 256)
    let other = try driver.stream()
    let captured = try capture(mode: 1) {}
    let executable = try driver.made("cuGraphInstantiateWithFlags", captured.graph)
    for wrong in [0xDEAD, memory, event + 8] {
      let calls: [(String, [Word])] = [
        ("cuStreamSynchronize", [wrong]), ("cuStreamDestroy_v2", [wrong]),
        ("cuStreamWaitEvent", [wrong, event]), ("cuStreamWaitEvent", [stream, wrong]),
        ("cuStreamBeginCapture_v2", [wrong, 1]),
        ("cuEventSynchronize", [wrong]), ("cuEventDestroy_v2", [wrong]),
        ("cuEventRecord", [wrong, stream]), ("cuEventRecord", [event, wrong]),
        ("cuMemsetD8Async", [memory, 0, 8, wrong]),
        ("cuModuleUnload", [wrong]), ("cuFuncSetAttribute", [wrong, 8, 0]),
        ("cuGraphLaunch", [wrong, stream]), ("cuGraphLaunch", [executable, wrong]),
        ("cuGraphDestroy", [wrong]), ("cuGraphExecDestroy", [wrong]),
      ]
      for (name, arguments) in calls { #expect(call(name, arguments) == 400, "\(name)") }
      #expect(driver.launch(wrong, in: stream) == 400)
      #expect(driver.launch(function, in: wrong) == 400)
    }
    let ends: [(String, Word)] = [
      ("cuGraphExecDestroy", executable), ("cuGraphDestroy", captured.graph),
      ("cuEventDestroy_v2", event), ("cuStreamDestroy_v2", other), ("cuModuleUnload", module),
    ]
    for (name, handle) in ends {
      #expect(driver(name, handle) == 0, "\(name)")
      #expect(driver(name, handle) == 400, "\(name), again")
    }
    // With its module a function goes.
    #expect(driver.launch(function, in: stream) == 400)
    for device: Word in [99, .max] {
      var value: Word = 0
      withUnsafeMutablePointer(to: &value) { place in
        let place = Word(bitPattern: place)
        for (name, arguments) in [
          ("cuDeviceGetAttribute", [place, 16, device]), ("cuDeviceTotalMem_v2", [place, device]),
          ("cuDevicePrimaryCtxRetain", [place, device]), ("cuDevicePrimaryCtxRelease_v2", [device]),
        ] {
          #expect(call(name, arguments) == 101, "\(name)")
        }
      }
    }
  }

  private func call(_ name: String, _ arguments: [Word]) -> Int32 {
    let all = arguments + [Word](repeating: 0, count: 6 - arguments.count)
    return driver(name, all[0], all[1], all[2], all[3], all[4], all[5])
  }

  // MARK: Contexts

  @Test func `a thread has a context, and not one that is gone`() throws {
    var place: Word = 0
    let codes = withUnsafeMutablePointer(to: &place) { place in
      let place = Word(bitPattern: place)
      return [0, 201, 709].map { expected in
        if expected == 201 { driver("cuCtxSetCurrent", 0) }
        if expected == 709 {
          driver("cuCtxSetCurrent", context)
          driver("cuDevicePrimaryCtxRelease_v2", 0)
        }
        return [
          call("cuMemAlloc_v2", [place, 256]), call("cuStreamCreate", [place, 1]),
          call("cuEventCreate", [place, 0]), call("cuMemHostAlloc", [place, 8, 0]),
          call("cuStreamSynchronize", [stream]),
        ].map { $0 == expected }
      }
    }
    #expect(codes == [[Bool]](repeating: [Bool](repeating: true, count: 5), count: 3))
    // What was made in it is gone, too.
    #expect(driver("cuCtxSetCurrent", context) == 201)
    _ = try driver.context()
    #expect(driver("cuStreamSynchronize", stream) == 400)
  }

  @Test func `a GPU that ends takes no context from its thread`() throws {
    let driver = try EmulatedDriver.withCopy { try CUDADriver(path: $0) }
    let first = try GPU(driver, index: 0)
    var second: GPU? = try GPU(driver, index: 1)
    #expect(second?.properties.index == 1)
    try first.makeCurrent()
    second = nil
    #expect(try first.allocate(8) != 0)
  }

  @Test func `things of one context are not for another`() throws {
    let event = try driver.made("cuEventCreate", 0)
    let function = try driver.function("narrow", of: try driver.module())
    let graph = try capture(mode: 1) {}.graph
    let executable = try driver.made("cuGraphInstantiateWithFlags", graph)
    _ = try driver.context(of: 1)
    let other = try driver.stream()
    #expect(driver("cuEventRecord", event, other) == 400)
    #expect(driver.launch(function, in: other) == 400)
    #expect(driver("cuGraphLaunch", executable, other) == 400)
    // But any queue waits for any event.
    #expect(driver("cuStreamWaitEvent", other, event, 0) == 0)
    #expect(driver("cuCtxEnablePeerAccess", try driver.context(), 0) == 201)
  }

  // MARK: Order

  @Test func `a graph runs once at a time, whatever the streams`() throws {
    let source = try driver.made("cuMemAlloc_v2", 8)
    let destination = try driver.made("cuMemAlloc_v2", 8)
    let graph = try capture(mode: 1) {
      driver("cuMemcpyDtoDAsync_v2", destination, source, 8, stream)
    }.graph
    let executable = try driver.made("cuGraphInstantiateWithFlags", graph)
    let other = try driver.stream()
    // The second is behind the first, so behind what that is behind.
    #expect(driver("cuMemsetD8Async", source, 7, 8, stream) == 0)
    #expect(driver("cuGraphLaunch", executable, stream) == 0)
    #expect(driver("cuGraphLaunch", executable, other) == 0)
    #expect(driver("cuGraphExecDestroy", executable) == 0)
    #expect(driver("cuStreamSynchronize", other) == 0)
    #expect(bytes(at: destination, 8) == [UInt8](repeating: 7, count: 8))
  }

  @Test func `what a destroyed stream has left is done still, and its event comes`() throws {
    let memory = try driver.made("cuMemAlloc_v2", 8)
    let event = try driver.made("cuEventCreate", 2)
    let other = try driver.stream()
    #expect(driver("cuMemsetD8Async", memory, 7, 8, other) == 0)
    #expect(driver("cuEventRecord", event, other) == 0)
    #expect(driver("cuStreamWaitEvent", stream, event, 0) == 0)
    #expect(driver("cuStreamDestroy_v2", other) == 0)
    #expect(driver("cuEventDestroy_v2", event) == 0)
    #expect(driver("cuMemsetD8Async", memory, 1, 8, other) == 400)
    #expect(bytes(at: memory, 8) == [UInt8](repeating: 0xFF, count: 8))
    #expect(driver("cuStreamSynchronize", stream) == 0)
    #expect(bytes(at: memory, 8) == [UInt8](repeating: 7, count: 8))
  }

  @Test func `time is told by events that tell it, and have come`() throws {
    let (start, end) = (try driver.made("cuEventCreate", 0), try driver.made("cuEventCreate", 0))
    let timeless = try driver.made("cuEventCreate", 2)
    func elapsed(_ end: Word) -> Int32 {
      var milliseconds: Word = 0
      return withUnsafeMutablePointer(to: &milliseconds) {
        driver("cuEventElapsedTime_v2", Word(bitPattern: $0), start, end)
      }
    }
    #expect(driver("cuEventRecord", start, stream) == 0)
    #expect(driver("cuEventSynchronize", start) == 0)
    #expect(elapsed(end) == 400)
    for event in [end, timeless] { #expect(driver("cuEventRecord", event, stream) == 0) }
    #expect(elapsed(end) == 600)
    #expect(driver("cuEventSynchronize", end) == 0)
    #expect(elapsed(end) == 0)
    #expect(elapsed(timeless) == 400)
  }

  /// The memory, or the module, of a kernel that waits.
  @Test(arguments: ["cuMemFree_v2", "cuMemFreeHost", "cuModuleUnload"])
  func `what a queued kernel needs is there when its time comes`(end: String) throws {
    let module = try driver.module()
    let function = try driver.function("narrow", of: module)
    var (source, handle) = (try driver.made("cuMemAlloc_v2", 256), module)
    if end == "cuMemFree_v2" { handle = source }
    if end == "cuMemFreeHost" {
      handle = try driver.made("cuMemHostAlloc", 256, 3)
      source = try driver.made("cuMemHostGetDevicePointer_v2", handle, 0)
    }
    let destination = try driver.made("cuMemAlloc_v2", 256)
    let launch = EmulatedDriver.Launch(argument: [UInt64(source), UInt64(destination), 4])
    for isWaitedFor in [true, false] {
      #expect(driver.launch(function, in: stream, launch) == 0)
      if isWaitedFor { #expect(driver("cuStreamSynchronize", stream) == 0) }
    }
    #expect(driver(end, handle) == 0)
    let code = driver("cuStreamSynchronize", stream)
    #expect(code == (end == "cuModuleUnload" ? 719 : 700))
    // After a fault all calls fail, but those that end something.
    #expect(driver("cuStreamSynchronize", stream) == code)
    #expect(driver("cuMemFree_v2", destination) == 0)
  }

  // MARK: Capture

  /// The code of `cuStreamEndCapture`, and the graph if there is one.
  private func capture(mode: Word, _ body: () throws -> Void) throws -> (code: Int32, graph: Word) {
    try #require(driver("cuStreamBeginCapture_v2", stream, mode) == 0)
    try body()
    return endCapture()
  }

  private func endCapture() -> (code: Int32, graph: Word) {
    var graph: Word = 1
    let code = withUnsafeMutablePointer(to: &graph) {
      driver("cuStreamEndCapture", stream, Word(bitPattern: $0))
    }
    return (code, graph)
  }

  /// Global, thread-local, relaxed.
  private static let modes: [Word] = [0, 1, 2]

  /// Calls that take or give back memory or wait, by the thread that captures and by another.
  @Test(arguments: modes, [false, true])
  func `while a graph is captured, some calls are not for some threads`(
    mode: Word, isElsewhere: Bool
  ) throws {
    let isRefused = mode == 0 || (mode == 1 && !isElsewhere)
    let (memory, pinned) = (
      try driver.made("cuMemAlloc_v2", 8), try driver.made("cuMemHostAlloc", 8, 0)
    )
    let (event, other) = (try driver.made("cuEventCreate", 0), try driver.stream())
    let module = try driver.module()
    let place = try driver.made("cuMemHostAlloc", 8, 0)
    let filled = try driver.made("cuMemAlloc_v2", 8)
    let calls: [(String, [Word])] = [
      ("cuMemAlloc_v2", [place, 8]), ("cuMemAllocManaged", [place, 8, 1]),
      ("cuMemHostAlloc", [place, 8, 0]), ("cuMemFree_v2", [memory]), ("cuMemFreeHost", [pinned]),
      ("cuEventSynchronize", [event]), ("cuStreamSynchronize", [other]),
      ("cuModuleUnload", [module]),
    ]
    for (name, arguments) in calls {
      let ended = try capture(mode: mode) {
        var code: Int32 = -1
        if isElsewhere {
          code = try onAnotherThread { call(name, arguments) }
        } else {
          code = call(name, arguments)
        }
        #expect(code == (isRefused ? 900 : 0), "\(name)")
        // What is captured is void, and says so.
        let next = driver("cuMemsetD8Async", filled, 0, 8, stream)
        #expect(next == (isRefused ? 901 : 0), "\(name)")
      }
      #expect(ended.code == (isRefused ? 901 : 0), "\(name)")
      #expect((ended.graph == 0) == isRefused, "\(name)")
    }
  }

  /// In the same context.
  private func onAnotherThread(_ body: @escaping @Sendable () -> Int32) throws -> Int32 {
    let code = Box()
    let (driver, context) = (driver, context)
    PinnedThread(name: "other") {
      driver("cuCtxSetCurrent", context)
      code.value = body()
    }.join()
    return code.value
  }

  /// Written by a thread that has ended when it is read.
  private final class Box: @unchecked Sendable { var value: Int32 = -1 }

  @Test(arguments: modes)
  func `a stream that is captured is not waited for, nor destroyed, nor joined`(
    mode: Word
  ) throws {
    let (event, inside) = (try driver.made("cuEventCreate", 0), try driver.made("cuEventCreate", 0))
    let managed = try driver.made("cuMemAllocManaged", 8, 1)
    let calls: [(String, [Word], Int32)] = [
      ("cuStreamSynchronize", [stream], 900), ("cuStreamDestroy_v2", [stream], 900),
      ("cuMemPrefetchAsync_v2", [managed, 8, 2, 0, stream], 900),
      ("cuStreamWaitEvent", [stream, event, 0], 905),
    ]
    for (name, arguments, code) in calls {
      let ended = try capture(mode: mode) { #expect(call(name, arguments) == code, "\(name)") }
      #expect(ended.code == 901, "\(name)")
    }
    // An event that is recorded inside never comes, and orders what is captured.
    let ended = try capture(mode: mode) {
      #expect(driver("cuEventRecord", inside, stream) == 0)
      #expect(driver("cuStreamWaitEvent", stream, inside, 0) == 0)
      #expect(driver("cuEventSynchronize", inside) == 907)
      #expect(driver("cuStreamBeginCapture_v2", stream, mode) == 401)
      let code = try onAnotherThread { [self] in endCapture().code }
      #expect(code == (mode == 2 ? 0 : 908))
    }
    #expect(ended.code == (mode == 2 ? 401 : 0))
    #expect(driver("cuStreamBeginCapture_v2", 0, mode) == 900)
    #expect(driver("cuStreamBeginCapture_v2", stream, 3) == 1)
  }
}
