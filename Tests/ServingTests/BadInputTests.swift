// SPDX-License-Identifier: Apache-2.0

import Engine
import Messages
import RPC
import Testing
import Text
import Wire

/// What bad input gets: an error that names the field, and nothing else is touched.
@Suite struct BadInputTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let field: String
    let code: StatusCode
    /// What the message must hold: the value and the bound.
    let says: [String]
    let change: @Sendable (inout Silica_V1_Start) -> Void

    init(
      _ field: String, _ code: StatusCode = .invalidArgument, says: [String],
      _ change: @escaping @Sendable (inout Silica_V1_Start) -> Void
    ) {
      self.field = field
      self.code = code
      self.says = says
      self.change = change
    }

    var testDescription: String { "\(field) \(says)" }
  }

  static let inputs: [Case] = [
    Case("start.model", .notFound, says: ["'gpt'", "'tiny'"]) { $0.model = "gpt" },
    Case("start.model", .notFound, says: ["…"]) {
      $0.model = String(repeating: "é", count: 1_000_000)
    },
    Case("start.input", says: ["no input"]) { $0.input = nil },
    Case("start.text", says: ["empty"]) { $0.text = "" },
    Case("start.token_ids", says: ["empty"]) { $0.tokenIds = Silica_V1_TokenIds() },
    Case("start.token_ids.ids", .outOfRange, says: ["1024", "1023"]) {
      $0.tokenIds.ids = [1, 1_024]
    },
    Case("start.token_ids.ids", .outOfRange, says: ["4294967295"]) { $0.tokenIds.ids = [.max] },
    Case("start.input", says: ["512 tokens", "511"]) {
      $0.tokenIds.ids = Array(repeating: 5, count: 512)
    },
    Case("start.chat.messages", says: ["empty"]) { $0.chat = Silica_V1_Chat() },
    Case("start.chat.messages[0].role", says: ["is 0", "ROLE_USER"]) {
      $0.chat.messages = [.with { $0.content = "hello" }]
    },
    Case("start.chat.messages[0].role", says: ["is 77"]) {
      $0.chat.messages = [.with { $0.role = .UNRECOGNIZED(77) }]
    },
  ]

  static let options: [Case] = [
    Case("start.sampling.temperature", says: ["-1"]) { $0.sampling.temperature = -1 },
    Case("start.sampling.temperature", says: ["inf"]) { $0.sampling.temperature = .infinity },
    Case("start.sampling.temperature", says: ["nan"]) { $0.sampling.temperature = .nan },
    Case("start.sampling.top_p", says: ["1.5", "to 1"]) { $0.sampling.topP = 1.5 },
    Case("start.sampling.top_p", says: ["0.0", "over 0"]) { $0.sampling.topP = 0 },
    Case("start.sampling.min_p", says: ["2.0"]) { $0.sampling.minP = 2 },
    Case("start.sampling.repetition_penalty", says: ["0.0"]) { $0.sampling.repetitionPenalty = 0 },
    Case("start.sampling.presence_penalty", says: ["-3.0"]) { $0.sampling.presencePenalty = -3 },
    Case("start.sampling.frequency_penalty", says: ["nan"]) {
      $0.sampling.frequencyPenalty = .nan
    },
    Case("start.sampling.logit_bias", .outOfRange, says: ["5000", "1023"]) {
      $0.sampling.logitBias = [5_000: 1]
    },
    Case("start.sampling.logit_bias[7]", says: ["101"]) { $0.sampling.logitBias = [7: 101] },
    Case("start.output.logprobs", says: ["21", "20"]) { $0.output.logprobs = 21 },
    Case("start.output.n", says: ["is 0", "16"]) { $0.output.n = 0 },
    Case("start.output.n", says: ["17", "16"]) { $0.output.n = 17 },
    Case("start.stopping.max_tokens", says: ["is 0", "1 or more"]) { $0.stopping.maxTokens = 0 },
    Case("start.stopping.min_tokens", says: ["9", "3"]) {
      $0.stopping.maxTokens = 3
      $0.stopping.minTokens = 9
    },
    Case("start.stopping.stop[1]", says: ["0 bytes"]) { $0.stopping.stop = ["x", ""] },
    Case("start.stopping.stop[0]", says: ["1025 bytes", "1024"]) {
      $0.stopping.stop = [String(repeating: "x", count: 1_025)]
    },
    Case("start.stopping.stop", says: ["17", "16"]) {
      $0.stopping.stop = Array(repeating: "x", count: 17)
    },
    Case("start.stopping.stop_token_ids", .outOfRange, says: ["4294967295", "1023"]) {
      $0.stopping.stopTokenIds = [.max]
    },
    Case("start.stopping.stop_token_ids", says: ["1025", "1024"]) {
      $0.stopping.stopTokenIds = Array(repeating: 1, count: 1_025)
    },
  ]

  @Test func `each wrong field is named with what it holds and what was expected`() throws {
    let server = try TestServer()
    let session = try SessionClient(server)
    server.gate.hold()
    try session.start(1, .greedy(tokens: 5))
    for (index, entry) in (Self.inputs + Self.options).enumerated() {
      var start = Silica_V1_Start.greedy(tokens: 5)
      entry.change(&start)
      let key = UInt32(index + 2)
      let failed = try session.run(key, start).failed
      try #require(failed != nil, "\(entry.field): \(entry.says)")
      expect(try ErrorDetails(failed), entry)
      let status = try server.generate(start).status
      expect(try ErrorDetails(status), entry)
    }
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 5, "the generation beside them")
    #expect(try session.close() == .ok)
    #expect(eventually { server.isQuiet })
  }

  private func expect(_ error: ErrorDetails, _ entry: Case) {
    #expect(error.code == entry.code.rawValue, "\(entry.field): \(error.message)")
    #expect(error.fields == [entry.field])
    #expect(error.message.utf8.count < 500)
    for part in entry.says {
      #expect(error.message.contains(part), "\(entry.field): \(error.message)")
    }
  }

  @Test func `a chat is refused by a model without a template`() throws {
    let tokenizer = try Tokenizer(contentsOf: "\(TestServer.directory)/tokenizer.json")
    let server = try TestServer(tokenizer: tokenizer)
    let start = Silica_V1_Start.greedy(tokens: 2) { start in
      start.chat.messages = [.with { $0.role = .user }]
    }
    let error = try ErrorDetails(try server.generate(start).status)
    #expect(error.code == StatusCode.failedPrecondition.rawValue)
    #expect(error.reason == "NO_CHAT_TEMPLATE")
    #expect(error.message.contains("no chat template"))
    #expect(try server.generate(.greedy(tokens: 2)).status == .ok)
  }

  @Test func `a full queue says when to come again`() throws {
    let server = try TestServer {
      $0.waitingSequencesMax = 2
      $0.batchMax = 1
    }
    server.gate.hold()
    let session = try SessionClient(server)
    for key in 1...3 as ClosedRange<UInt32> { try session.start(key, .greedy(tokens: 3)) }
    let error = try ErrorDetails(try session.finish(3).failed)
    #expect(error.code == StatusCode.resourceExhausted.rawValue)
    #expect(error.reason == "QUEUE_FULL")
    #expect(error.retryMilliseconds ?? 0 > 0)
    let status = try server.generate(.greedy(tokens: 3)).status
    #expect(status.code == .resourceExhausted)
    #expect(try ErrorDetails(status).retryMilliseconds ?? 0 > 0)
    server.gate.release()
    try session.finish(1, 2)
    #expect(try session.run(4, .greedy(tokens: 3)).tokens.count == 3)
  }

  @Test func `a frame of 100 MB ends its call, and no other`() throws {
    let server = try TestServer()
    server.gate.hold()
    let session = try SessionClient(server)
    try session.start(1, .greedy(tokens: 5))
    var limits = RPCLimits()
    limits.sendMessageBytesMax = 200 << 20
    let channel = TestServer.channel(to: server.address, limits: limits)
    defer { channel.poller.stop() }
    let call = try BlockingCall(
      on: channel, path: Silica_V1_Inference.session.path, deadline: testDeadline())
    try call.send([UInt8](repeating: 0, count: 100 << 20))
    let status = try call.finish().status
    #expect(status.code == .resourceExhausted)
    #expect(status.message.contains("16777216"))
    server.gate.release()
    #expect(try session.finish(1).tokens.count == 5)
  }

  @Test func `calls without a request, or with an undecodable one, are refused`() throws {
    let server = try TestServer()
    let paths = [Silica_V1_Inference.generate.path, Silica_V1_Inference.getModel.path]
    for path in paths {
      let empty = try BlockingCall(on: server.channel, path: path, deadline: testDeadline())
      #expect(try empty.finish().status.code == .invalidArgument)
      let broken = try BlockingCall(on: server.channel, path: path, deadline: testDeadline())
      try broken.send([0x0A, 0xFF])
      #expect(try broken.finish().status.code == .invalidArgument)
    }
    #expect(try server.generate(Silica_V1_Start()).status.code == .invalidArgument)
    let unknown = try BlockingCall(
      on: server.channel, path: "/silica.v1.Inference/Nothing", deadline: testDeadline())
    #expect(try unknown.finish().status.code == .unimplemented)
  }
}
