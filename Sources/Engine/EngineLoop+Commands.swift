// SPDX-License-Identifier: Apache-2.0

internal import Sampling
internal import Scheduler
internal import Step
internal import Support

extension EngineLoop {
  /// Applies commands that have come, up to a limit. Returns whether there were some.
  func applyCommands() -> Bool {
    for index in 0..<EngineLimits.commandsPerTurnMax {
      guard let command = commands.tryPop() else { return index > 0 }
      apply(command)
    }
    return true
  }

  private func apply(_ command: EngineCommand) {
    let now = Clock.nowNanoseconds
    switch command {
    case .submit(let sequences):
      submit(sequences, now: now)
    case .end(let id, let reason):
      scheduler.end(id, reason, now: now)
    case .allow(let id, let count):
      scheduler.allow(id, tokens: count)
    case .update(let ids, let update):
      for id in ids { apply(update, to: id, now: now) }
    case .shutdown(let deadline):
      stopDeadline = deadline
      endAll(.failed(SequenceError(.unavailable, "the server has shut down")))
    }
  }

  private func apply(_ update: SequenceUpdate, to id: SequenceID, now: Nanoseconds) {
    do {
      try scheduler.update(
        id, priority: update.priority, maxTokens: update.maxTokens, deadline: update.deadline,
        now: now)
    } catch {
      // `Engine.update` has checked it.
      checkFailed(error.message, file: #fileID, line: #line)
    }
    if update.endsThinking { records[id.value]?.sampler.endThinking() }
  }

  private func submit(_ sequences: [AdmittedSequence], now: Nanoseconds) {
    for sequence in sequences {
      records[sequence.request.id.value] = Record(sequence)
    }
    do {
      try scheduler.enqueue(sequences.map(\.request), now: now)
      guard let failure else { return }
      for sequence in sequences {
        scheduler.end(sequence.request.id, .failed(failure), now: now)
      }
    } catch {
      // The gate and the check at submission leave nothing for the scheduler to refuse.
      checkFailed(error.message, file: #fileID, line: #line)
    }
  }

  /// Ends all sequences; those in a step under way, when it comes back.
  func endAll(_ reason: FinishReason) {
    let now = Clock.nowNanoseconds
    for id in records.keys.sorted() {
      scheduler.end(SequenceID(id), reason, now: now)
    }
  }
}
