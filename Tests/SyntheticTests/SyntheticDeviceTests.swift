// SPDX-License-Identifier: Apache-2.0

import Device
import Engine
import Glibc
import Program
import Step
import Support
import Synchronization
import Synthetic
import Testing
import Text
import Topology

/// A synthetic model in an engine: the same answer whatever the batch, the chunks and the cache do.
@Suite struct SyntheticDeviceTests {
  @Test func `many sequences in small chunks give what each gives alone`() throws {
    let model = SyntheticModel(SyntheticConfiguration())
    let engine = try Self.engine(model) {
      $0.batchMax = 5
      $0.rowCountMax = 7
      $0.blockTokens = 4
    }
    defer { engine.shutdown() }
    let prompts = (1...12).map { length in
      (0..<length * 3).map { Int32(($0 * 37 + length) % 256) }
    }
    let answers = try Answers.collect(from: engine, prompts: prompts, count: 20)
    for (prompt, answer) in zip(prompts, answers) {
      #expect(answer == SyntheticDevice.generate(model, prompt: prompt, count: 20))
    }
    #expect(Set(answers).count > 6, "answers depend on prompts")
  }

  @Test func `reused blocks change nothing`() throws {
    let model = SyntheticModel(SyntheticConfiguration())
    let engine = try Self.engine(model) { $0.blockTokens = 4 }
    defer { engine.shutdown() }
    let prompt = (0..<33).map { Int32($0) }
    let first = try Answers.collect(from: engine, prompts: [prompt], count: 9)
    let again = try Answers.collect(from: engine, prompts: [prompt, prompt + [9]], count: 9)
    #expect(again[0] == first[0])
    #expect(again[1] == SyntheticDevice.generate(model, prompt: prompt + [9], count: 9))
  }

  @Test(arguments: [1, 2, 3, 51, 4_096])
  func `every token has the text size that was asked for`(bytes: Int) throws {
    var configuration = SyntheticConfiguration()
    configuration.tokenBytes = bytes
    let model = SyntheticModel(configuration)
    let tokenizer = try model.tokenizer()
    let tokens = SyntheticDevice.generate(model, prompt: [1, 2, 3], count: 200)
    #expect(tokens.allSatisfy { tokenizer.bytes(of: $0).count == bytes })
    #expect(Set(tokens.map { tokenizer.decode([$0]) }).count == 26)
    #expect(tokens.allSatisfy { Int($0) < model.vocabularySize })
    #expect(tokenizer.vocabularySize == model.vocabularySize)
  }

  @Test func `any text is a prompt, and a conversation too`() throws {
    let tokenizer = try SyntheticModel(SyntheticConfiguration()).tokenizer()
    for text in ["a", " abc bcd", "\u{0}\n\t", "Grüße, 世界 🙂"] {
      let tokens = try tokenizer.encode(text)
      #expect(tokens == text.utf8.map { Int32($0) })
      #expect(tokenizer.decode(tokens) == text)
    }
    let chat = try tokenizer.encode(chat: [ChatMessage(role: .user, content: "Hi")])
    #expect(tokenizer.decode(chat) == "User: Hi\n\nAssistant:")
  }

  /// In milliseconds, that its thread takes of a CPU for a step of 100 ms.
  private static func threadTime(_ wait: StepWait) throws -> Int {
    func now() -> Int {
      var time = timespec()
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
    }
    var configuration = SyntheticConfiguration()
    configuration.tokenRate = 10
    configuration.wait = wait
    let model = SyntheticModel(configuration)
    let program = model.program()
    let device = SyntheticDevice(model)
    try device.load(
      program, from: SyntheticWeights(for: program),
      capacity: DeviceCapacity(
        rowCountMax: 1, outputCountMax: 1, blockCount: 1, blockTokens: 16), progress: { _ in })
    let sequence = StepSequence(
      id: SequenceID(1), rows: 0..<1, firstPosition: 0, blocks: [0], outputs: .last)
    device.begin(StepPlan(id: 1, tokens: [7], sequences: [sequence]))
    let start = now()
    device.run(program.operations.indices)
    return now() - start
  }

  /// Of a thread that others keep from its core, too.
  @Test func `a device keeps its core until a step ends if it is to`() throws {
    #expect(try Self.threadTime(.spin) >= 5)
    #expect(try Self.threadTime(.sleep) < 5)
  }

  @Test func `slices are refused`() {
    let model = SyntheticModel(SyntheticConfiguration())
    #expect(throws: EngineError.self) {
      try Self.engine(model) { $0.contextSlices = 2 }
    }
  }

  static func engine(
    _ model: SyntheticModel, _ configure: (inout EngineConfiguration) -> Void
  ) throws -> Engine {
    var configuration = EngineConfiguration()
    configure(&configuration)
    let program = model.program()
    return try Engine.start(
      program, from: SyntheticWeights(for: program),
      devices: { _ throws(DeviceError) in SyntheticDevice(model) }, configuration: configuration,
      topology: Topology.current())
  }
}

/// Takes the tokens of sequences that run at once.
private final class Answers: SequenceSink {
  private struct State {
    var tokens: [SequenceID: [Int32]] = [:]
    var running: Int
  }

  private let state: Mutex<State>
  private let done = WakeSignal()

  private init(count: Int) { state = Mutex(State(running: count)) }

  static func collect(
    from engine: Engine, prompts: [[Int32]], count: Int
  ) throws -> [[Int32]] {
    let answers = Answers(count: prompts.count)
    var sampling = SamplingParameters()
    sampling.temperature = 0
    let ids = try prompts.map { prompt in
      try engine.submit(
        SequenceSubmission(
          prompt: prompt, sampling: sampling, stopping: StoppingParameters(maxTokens: count)),
        to: answers)
    }
    while answers.state.withLock({ $0.running > 0 }) { answers.done.wait() }
    return answers.state.withLock { state in ids.map { state.tokens[$0] ?? [] } }
  }

  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds) {
    state.withLock { state in
      for event in events {
        switch event {
        case .queued, .prefilled: break
        case .token(let id, _, let token): state.tokens[id, default: []].append(token.id)
        case .finished: state.running -= 1
        }
      }
    }
    done.notify()
  }
}
