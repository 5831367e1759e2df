// SPDX-License-Identifier: Apache-2.0

package import Program
package import Step
package import Support

/// Something that runs a program: a CPU, a GPU, or the reference.
///
/// A device is confined to the thread of its executor: it is loaded there (so that memory is first
/// touched on the right node) and used there only. `load` may allocate and is slow; `begin`,
/// `run`, `read` and `write` neither allocate device memory nor block on anything but the device.
/// A step is `begin`, then `run` over ranges of operations in order, with `write` before and
/// `read` after wherever a value crosses to another device.
///
/// Any of these may throw when the device itself fails (a fault on a GPU); a device without such
/// failures implements them without `throws`. After a throw the device is not used again.
package protocol Device: AnyObject {
  /// What a person reads: "cpu (avx512, 2 threads)".
  var summary: String { get }

  /// What a person should know of how it was loaded, one sentence; nil: nothing.
  var note: String? { get }

  /// Takes the weights and allocates buffers and caches; once, before anything else.
  /// `progress` is called now and then with the bytes of weights loaded so far.
  func load(
    _ program: Program, from weights: any WeightSource, capacity: DeviceCapacity,
    progress: (Int) -> Void
  ) throws(DeviceError)

  /// Starts a step. The plan must fit the capacity.
  func begin(_ plan: StepPlan) throws(DeviceError)

  /// Runs some operations of the program on the step's rows.
  func run(_ operations: Range<Int>) throws(DeviceError)

  /// Copies a `.floats` value of the step out: `[rows of its row space, width]`.
  func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError)

  /// Copies a `.floats` value of the step in.
  func write(_ value: ValueID, from source: UnsafeBufferPointer<Float>) throws(DeviceError)
}

extension Device {
  package var note: String? { nil }
}

/// A device that draws tokens from rows of logits itself, and so copies none of these to the host.
package protocol TokenDrawer: Device {
  /// Whether it makes any draw; if not, plain ones that take the largest.
  var drawsAtRandom: Bool { get }

  /// Of each row of a `.floats` value that has a draw, the column drawn, the same as
  /// `SamplingWorkspace.draw` gives, or one of `DrawnToken`'s words in place of it; and a report
  /// where the draw asks for it. What is said of other rows means nothing; rows whose logits are
  /// adjusted may be left so. One draw at least is not nil.
  func draw(
    _ value: ValueID, _ draws: StepDraws, into columns: UnsafeMutableBufferPointer<Int32>,
    reports: UnsafeMutableBufferPointer<LogitReport>
  ) throws(DeviceError)

  /// Copies some rows of a `.floats` value of the step out.
  func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError)
}

/// How much a device must be ready for.
package struct DeviceCapacity: Hashable, Sendable {
  /// Rows (tokens) of a step, at most.
  package var rowCountMax: Int
  /// Rows of a step that give logits, at most.
  package var outputCountMax: Int
  /// Cache blocks of this device.
  package var blockCount: Int
  /// Tokens of a cache block.
  package var blockTokens: Int
  /// The keys this device holds: block `i` of every sequence where `i % count == index`.
  package var contextSlice: ContextSlice
  /// Steps that the engine has under way at once, at most.
  package var stepCountMax: Int

  package init(
    rowCountMax: Int, outputCountMax: Int, blockCount: Int, blockTokens: Int,
    contextSlice: ContextSlice = .whole, stepCountMax: Int = 1
  ) {
    self.rowCountMax = rowCountMax
    self.outputCountMax = outputCountMax
    self.blockCount = blockCount
    self.blockTokens = blockTokens
    self.contextSlice = contextSlice
    self.stepCountMax = stepCountMax
  }
}

/// One of `count` parts of every sequence's keys.
package struct ContextSlice: Hashable, Sendable {
  package var index: Int
  package var count: Int

  package init(index: Int, count: Int) {
    self.index = index
    self.count = count
  }

  /// All keys.
  package static let whole = ContextSlice(index: 0, count: 1)
}

/// A device that could not be made or loaded.
package struct DeviceError: OperatingError {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
