// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support

/// What other threads ask of the engine's thread; applied between steps.
enum EngineCommand: Sendable {
  /// The choices of one request: all of them or none.
  case submit([AdmittedSequence])
  case end(SequenceID, FinishReason)
  case update([SequenceID], SequenceUpdate)
  case allow(SequenceID, tokens: Int)
  /// `deadline`, on `Clock`: when to stop waiting for the devices.
  case shutdown(deadline: Nanoseconds)
}

/// A sequence that has passed the gate.
struct AdmittedSequence: Sendable {
  var request: SequenceRequest
  var sampling: SamplingParameters
  var sink: any SequenceSink
  var thinking: ThinkingTokens?
  /// Takes the logits of a sequence that is scored.
  var scoring: LogitsJob?
}

/// The names of limits of the engine that no configuration changes.
enum EngineLimits {
  /// Sequences that are sampled before their readers may send what they got; each portion of a step
  /// is a quarter larger than the one before. Fewer bring the first token out sooner, and cost all
  /// others a little.
  static let portionSequencesMin = 4
  /// Commands between two turns of the engine's loop. Submissions are bounded more tightly by the
  /// waiting queue; the room beyond is for their cancellations.
  static let commandCountMax = 8192
  /// Commands applied before each step, so that a flood of them cannot hold up the running.
  static let commandsPerTurnMax = 1024
  /// The loop goes round at least this often, so that a thread that hangs is told from an idle one.
  static let beatInterval: Nanoseconds = 500_000_000
  /// How often the waiting are told their places in the queue, at most.
  static let queueReportInterval: Nanoseconds = 250_000_000
}
