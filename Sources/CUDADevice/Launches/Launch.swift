// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// A kernel with its argument, and how many blocks of it a step needs.
enum Launch {
  /// A block for each row of the space, times `repeated`.
  case rows(GPU.Kernel, Argument, RowSpace, repeated: Int = 1)
  case route(RouteLaunch)
  indirect case product(ProductLaunch)
  indirect case normed(NormedLaunch)
  indirect case latent(LatentLaunch)
  indirect case latentValues(LatentValuesLaunch)
  indirect case combined(CombinedLaunch)
  case attention(AttentionLaunch)
  indirect case expanded(ExpandedLaunch)

  /// Where an argument lies, until the device ends.
  typealias Argument = UnsafeMutableRawPointer

  /// Rows of a step by space.
  struct Counts {
    var tokens: Int
    var outputs: Int
    /// Rows that latent attention takes in its expanded form, in order.
    var chunks: [Chunk] = []
    /// Whether kernels are to be tasks of one launch.
    var areOfOneLaunch = false

    func rows(_ space: RowSpace) -> Int { space == .tokens ? tokens : outputs }
  }

  /// Rows of one sequence, and its tokens before them.
  struct Chunk {
    var rows: Range<Int>
    var firstPosition: Int
  }

  func queue(on gpu: GPU, _ counts: Counts) throws(CUDAError) {
    switch self {
    case .rows(let kernel, let argument, let space, let repeated):
      try gpu.launch(kernel, x: counts.rows(space) * repeated, argument: argument)
    case .route(let route):
      try route.queue(on: gpu, counts)
    case .product(let product):
      try product.queue(on: gpu, counts)
    case .normed(let normed):
      try normed.queue(on: gpu, counts)
    case .latent(let latent):
      try latent.queue(on: gpu, counts)
    case .latentValues(let values):
      try values.queue(on: gpu, counts)
    case .combined(let combined):
      try combined.queue(on: gpu, counts)
    case .attention(let attention):
      try attention.queue(on: gpu, rows: 0..<counts.tokens, counts)
    case .expanded(let expanded):
      try expanded.queue(on: gpu, counts)
    }
  }
}

/// Launches behind each other, and where each operation's begin. Owns their arguments.
final class LaunchList {
  private(set) var launches: [Launch] = []
  private var starts: [Int] = []
  private var arguments: [UnsafeMutableRawPointer] = []
  /// Launches that stand for some operations, by the first of them.
  private var fused: [Int: (end: Int, launches: [Launch])] = [:]

  deinit { for argument in arguments { argument.deallocate() } }

  /// What is appended from now on belongs to the next operation.
  func beginOperation() { starts.append(launches.count) }

  func append(_ launch: Launch) { launches.append(launch) }

  /// Copies an argument to where it stays.
  func keep<T: BitwiseCopyable>(_ argument: T) -> Launch.Argument {
    let place = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<T>.stride, alignment: MemoryLayout<T>.alignment)
    place.initializeMemory(as: T.self, to: argument)
    arguments.append(place)
    return place
  }

  /// Some launches in place of those of some operations, where all of these run.
  func fuse(_ operations: Range<Int>, _ launches: [Launch]) {
    fused[operations.lowerBound] = (operations.upperBound, launches)
  }

  /// Queues what some operations need.
  func queue(
    _ operations: Range<Int>, on gpu: GPU, _ counts: Launch.Counts
  ) throws(CUDAError) {
    var index = operations.lowerBound
    while index < operations.upperBound {
      let (end, launches) = next(index, of: operations)
      for launch in launches { try launch.queue(on: gpu, counts) }
      index = end
    }
  }

  /// What is queued for some operations, with the fusions so far.
  func launches(of operations: Range<Int>) -> [Launch] {
    var (index, found) = (operations.lowerBound, [Launch]())
    while index < operations.upperBound {
      let (end, launches) = next(index, of: operations)
      found += launches
      index = end
    }
    return found
  }

  private func next(_ index: Int, of operations: Range<Int>) -> (end: Int, ArraySlice<Launch>) {
    if let (end, launches) = fused[index], end <= operations.upperBound {
      return (end, launches[...])
    }
    return (index + 1, launches[starts[index]..<starts[index + 1]])
  }
}
