// SPDX-License-Identifier: Apache-2.0

package import Device
package import Step
internal import Topology

/// One step on its way through the stages, with the buffers it needs on the way.
///
/// Allocated once and used for one plan after another. It belongs to one thread at a time: the
/// engine's, then each stage's in turn, then the engine's again; the rings between them order the
/// accesses.
package final class MicroBatch: @unchecked Sendable {
  package internal(set) var plan = StepPlan(id: 0, tokens: [], sequences: []) {
    didSet { outputCount = plan.outputCount }
  }
  private var outputCount = 0
  /// When the last device was done with the step, on `Clock`.
  package internal(set) var endTime: Nanoseconds = 0
  /// Why the step was not computed; its logits mean nothing then.
  package internal(set) var failure: DeviceError?
  /// Who is told on the executor's thread that the step is among the results.
  var observer: (any StepObserver)?

  /// The hidden state between two stages, `[rows, hidden]`, unless it is on a device.
  let hidden: HostBuffer
  /// Whether the next stage's device has it, in the place of this number.
  var isOnDevice = false
  let place: Int
  private let logitsBuffer: HostBuffer
  private let largestBuffer: UnsafeMutableBufferPointer<Int32>
  /// Whether the device gave `largest` and no logits.
  var hasLargest = false
  private let vocabularySize: Int

  init(
    place: Int, hiddenCount: Int, outputCountMax: Int, vocabularySize: Int, node: Int
  ) throws(TopologyError) {
    self.place = place
    hidden = try HostBuffer(count: hiddenCount, node: node)
    logitsBuffer = try HostBuffer(count: outputCountMax * vocabularySize, node: node)
    largestBuffer = .allocate(capacity: outputCountMax)
    largestBuffer.initialize(repeating: 0)
    self.vocabularySize = vocabularySize
  }

  deinit { largestBuffer.deallocate() }

  /// What the step gave.
  package var outputs: StepOutputs {
    hasLargest
      ? .largest(UnsafeBufferPointer(largest)) : .logits(UnsafeBufferPointer(logits))
  }

  var logits: UnsafeMutableBufferPointer<Float> {
    logitsBuffer.prefix(outputCount * vocabularySize)
  }

  var largest: UnsafeMutableBufferPointer<Int32> {
    UnsafeMutableBufferPointer(rebasing: largestBuffer[..<outputCount])
  }

  var notes: [String] { [hidden.note, logitsBuffer.note].compactMap { $0 } }
}

/// What the last stage gave for the outputs of a step, in their order. Valid until the batch is
/// used again.
package enum StepOutputs {
  /// `[outputs, vocabulary]`
  case logits(UnsafeBufferPointer<Float>)
  /// The token of each output's largest logit, -1 where one is no finite number.
  case largest(UnsafeBufferPointer<Int32>)
}
