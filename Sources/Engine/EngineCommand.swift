// SPDX-License-Identifier: Apache-2.0

internal import Step

/// What other threads ask of the engine's thread; applied between steps.
enum EngineCommand: Sendable {
  case submit(SequenceRequest, SamplingParameters, any SequenceSink)
  case cancel(SequenceID, FinishReason)
  case logits(LogitsJob)
  case shutdown
}

/// The names of limits of the engine that no configuration changes.
enum EngineLimits {
  /// Commands between two turns of the engine's loop. Submissions are bounded more tightly by the
  /// waiting queue; the room beyond is for their cancellations.
  static let commandCountMax = 8192
  /// Commands applied before each step, so that a flood of them cannot hold up the running.
  static let commandsPerTurnMax = 1024
}
