// SPDX-License-Identifier: Apache-2.0

package import Step

/// A sequence that an engine is asked to generate. A request with `n` choices submits `n` of them.
package struct SequenceSubmission: Hashable, Sendable {
  /// At least one token.
  package var prompt: [Int32]
  package var sampling: SamplingParameters
  package var stopping: StoppingParameters
  /// Larger goes first among the waiting.
  package var priority: Int32
  /// On `Clock`: when it ends with `.deadline`, finished or not.
  package var deadline: Nanoseconds?

  package init(
    prompt: [Int32], sampling: SamplingParameters = SamplingParameters(),
    stopping: StoppingParameters = StoppingParameters(), priority: Int32 = 0,
    deadline: Nanoseconds? = nil
  ) {
    self.prompt = prompt
    self.sampling = sampling
    self.stopping = stopping
    self.priority = priority
    self.deadline = deadline
  }
}

/// Where the events of sequences go. Called on the engine's thread, which must not be held up:
/// take note and return. One sink may serve many sequences.
package protocol SequenceSink: AnyObject, Sendable {
  /// Something happened to one of the sink's sequences. The last event of each is `.finished`.
  func deliver(_ event: SequenceEvent)

  /// The engine has delivered what there is for now; called once after one or more `deliver`s.
  func flush()
}
