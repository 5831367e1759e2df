// SPDX-License-Identifier: Apache-2.0

internal import Executor
internal import Sampling
internal import Scheduler
internal import Step
internal import Support
internal import Synchronization

/// A step that has come back, and how far it is sampled.
struct StepRemainder {
  let batch: MicroBatch
  /// The next sequence of its plan.
  var sequence = 0
  /// Where its outputs begin.
  var output = 0
}

/// Steps that have come back: their tokens are sampled, in portions if readers wait meanwhile.
extension EngineLoop {
  /// Samples the next sequences of the oldest step that has come back, and tells the scheduler.
  /// Returns false if there is none.
  func collectResult(atMost count: Int) -> Bool {
    guard var rest = remainder ?? nextResult() else { return false }
    let batch = rest.batch
    let sequences = batch.plan.sequences
    let end = rest.sequence + min(count, sequences.count - rest.sequence)
    let outcomes = (rest.sequence..<end).map { index in
      if let error = batch.failure { return failed(error) }
      let start = rest.output
      rest.output += sequences[index].outputCount
      return outcome(of: sequences[index], batch, start..<rest.output)
    }
    rest.sequence = end
    remainder = end == sequences.count ? nil : rest
    scheduler.complete(
      StepResult(planID: batch.plan.id, outcomes: outcomes), now: Clock.nowNanoseconds)
    if remainder == nil {
      pipeline.recycle(batch)
      vitals.countStep()
    }
    return true
  }

  private func nextResult() -> StepRemainder? {
    guard let batch = pipeline.nextResult() else { return nil }
    stepEnd = batch.endTime
    return StepRemainder(batch: batch)
  }

  /// - Parameter range: the sequence's among the outputs of the step.
  private func outcome(
    of sequence: StepSequence, _ batch: MicroBatch, _ range: Range<Int>
  ) -> SequenceOutcome {
    // Without a record it has ended while the step was under way, and nobody looks.
    guard !range.isEmpty, let record = records[sequence.id.value] else { return .computed }
    do throws(SequenceError) {
      switch batch.outputs(range) {
      case .drawn(let token):
        return .sampled(try record.sampler.next(drawn: token))
      case .logits(let logits):
        if sequence.outputs == .last {
          return .sampled(try record.sampler.next(logits, using: &workspace))
        }
        record.scoring?.store(logits, firstPosition: sequence.firstPosition)
        return .computed
      }
    } catch {
      return .failed(error)
    }
  }

  /// A device has failed, and with it the engine: what it holds of all sequences is lost.
  private func failed(_ error: some OperatingError) -> SequenceOutcome {
    let failure = SequenceError(.unavailable, "a device failed: \(error.message)")
    if self.failure == nil {
      self.failure = failure
      vitals.fail(failure.message)
      endAll(.failed(failure))
    }
    return .failed(failure)
  }
}

// MARK: - The executor's thread

extension EngineLoop: StepObserver {
  /// Goes round once, unless the engine's thread is doing so; that goes round again then.
  func stepEnded() {
    tellResults()
    let told = takeTurn {
      _ = applyCommands()
      _ = dispatch()
      _ = tell()
    }
    for sink in told { _ = sink.wakeReaderOrRead { false } }
  }

  /// Delivers what the step has made, a portion at a time: while a reader writes what it got, the
  /// rest is sampled. A reader that does not read here gets the rest at once.
  private func tellResults() {
    // Each portion delays what is after it, so it may be larger the more has gone before.
    var portion = EngineLimits.portionSequencesMin
    var told = tell(atMost: portion)
    while let sink = told.popLast() {
      let hasRead = sink.wakeReaderOrRead {
        portion += portion / 4
        let more = tell(atMost: portion)
        told += more.filter { new in new !== sink && !told.contains { $0 === new } }
        return !more.isEmpty
      }
      if told.isEmpty, !hasRead { told = tell(atMost: .max) }
    }
  }

  /// Samples and delivers until some readers have news, whom it returns; none if nothing is left.
  ///
  /// - Parameter count: sequences that are sampled before their events are delivered.
  private func tell(atMost count: Int) -> [any SequenceSink] {
    takeTurn {
      while collectResult(atMost: count) {
        if tell() { break }
      }
    }
  }

  /// Returns the sinks that were told, whose readers do not know yet.
  private func takeTurn(_ body: () -> Void) -> [any SequenceSink] {
    let turn = turns.withLockIfAvailable { _ in
      guard !isOver else { return (sinks: [any SequenceSink](), isLast: false) }
      body()
      return (takeToldSinks(), stopDeadline != nil)
    }
    // The end is for the engine's thread, and so is all that it is at work on.
    if turn?.isLast ?? true { wake.notify() }
    return turn?.sinks ?? []
  }
}
