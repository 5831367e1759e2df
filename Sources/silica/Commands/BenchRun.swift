// SPDX-License-Identifier: Apache-2.0

import Engine
import Step
import Support
import Synchronization

/// One batch through the engine, timed by its tokens.
struct BenchRun {
  /// Tokens per second until the last sequence has its first token.
  private(set) var prefillRate = 0.0
  /// Tokens per second from then on, as long as all sequences run.
  private(set) var decodeRate = 0.0
  /// Median time from one step's tokens to the next step's, of the same steps.
  private(set) var stepMilliseconds = 0.0

  init(
    engine: Engine, batch: Int, promptCount: Int, generateCount: Int, sampling: SamplingParameters
  ) throws {
    let recorder = Recorder(sequenceCount: batch)
    var generator = SystemRandomNumberGenerator()
    let start = Clock.nowNanoseconds
    // Together, so that the first does not end before the last begins.
    let sequences = (0..<batch).map { _ in
      let prompt = (0..<promptCount).map { _ in
        Int32.random(in: 0..<Int32(engine.vocabularySize), using: &generator)
      }
      return (
        id: engine.makeID(),
        submission: SequenceSubmission(
          prompt: prompt, sampling: sampling,
          stopping: StoppingParameters(maxTokens: generateCount))
      )
    }
    try engine.submit(choices: sequences, to: recorder)
    let record = try recorder.wait()
    let prefillEnd = record.prefillEnd
    prefillRate = Double(batch * promptCount) / Self.seconds(prefillEnd - start)
    // The first may have begun to decode long before the last, and end before it.
    let steps = record.steps.filter { $0.end >= prefillEnd && $0.end <= record.firstEnd }
    let decoded = steps.filter { $0.end > prefillEnd }.reduce(0) { $0 + $1.tokenCount }
    guard decoded > 0, let last = steps.last else {
      throw UsageError(
        "of \(batch) sequences the first ended before the last one's prompt was done; "
          + "expected --generate above \(generateCount)")
    }
    decodeRate = Double(decoded) / Self.seconds(last.end - prefillEnd)
    let gaps = zip(steps, steps.dropFirst()).map { $1.end - $0.end }.sorted()
    stepMilliseconds = Double(gaps[gaps.count / 2]) / 1e6
  }

  private static func seconds(_ nanoseconds: UInt64) -> Double {
    Double(max(nanoseconds, 1)) / 1e9
  }

  /// Notes when tokens come.
  private final class Recorder: SequenceSink {
    struct Record {
      /// When the last sequence got its first token.
      var prefillEnd: UInt64 = 0
      /// When a sequence ended first.
      var firstEnd: UInt64 = .max
      /// When each step delivered its tokens, and how many.
      var steps: [(end: UInt64, tokenCount: Int)] = []
      var failure: SequenceError?
      var running: Int
    }

    private let record: Mutex<Record>
    private let done = WakeSignal()

    init(sequenceCount: Int) {
      record = Mutex(Record(running: sequenceCount))
    }

    func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
      let now = Clock.nowNanoseconds
      let isDone = record.withLock { record in
        var tokenCount = 0
        for event in events {
          switch event {
          case .queued, .prefilled: break
          case .token(_, let index, _):
            if index == 0 { record.prefillEnd = now }
            tokenCount += 1
          case .finished(_, let reason, _):
            if case .failed(let error) = reason { record.failure = error }
            record.firstEnd = min(record.firstEnd, now)
            record.running -= 1
          }
        }
        record.steps.append((now, tokenCount))
        return record.running == 0
      }
      if isDone { done.notify() }
    }

    func wait() throws(SequenceError) -> Record {
      done.wait()
      let record = record.withLock { $0 }
      if let failure = record.failure { throw failure }
      return record
    }
  }
}
