// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Testing
import Wire

extension Silica_V1_Start {
  /// How many ends to wait for.
  var choiceCount: Int { output.hasN ? max(1, Int(output.n)) : 1 }

  /// A greedy generation past end tokens, from a prompt of the caller's.
  static func greedy(
    _ prompt: String = "Once upon a time", tokens: Int,
    _ change: (inout Silica_V1_Start) -> Void = { _ in }
  ) -> Silica_V1_Start {
    .with { start in
      start.text = prompt
      start.sampling.temperature = 0
      start.stopping.maxTokens = UInt32(tokens)
      start.stopping.ignoreEos = true
      change(&start)
    }
  }
}

extension TestServer {
  /// One `Generate` call to its end.
  func generate(
    _ start: Silica_V1_Start, token: String? = nil
  ) throws -> (transcript: Transcript, status: Status) {
    let call = try BlockingCall(
      on: channel, path: Silica_V1_Inference.generate.path, metadata: try bearer(token),
      deadline: testDeadline())
    try call.send(Silica_V1_GenerateRequest.with { $0.start = start }.encoded())
    try call.sendEnd()
    var transcript = Transcript(choiceCount: start.choiceCount)
    while let bytes = try call.receive() {
      switch try Silica_V1_GenerateResponse(decoding: bytes).event {
      case .accepted(let message): transcript.add(message)
      case .progress(let message): transcript.add(message)
      case .delta(let message): transcript.add(message)
      case .finished(let message): transcript.add(message)
      case nil: Issue.record("an empty response")
      }
    }
    return (transcript, try call.finish().status)
  }

  /// One call of one message to its end.
  func exchange<Request: Message, Response: Message>(
    _ method: MethodDescriptor<Request, Response>, _ request: Request, token: String? = nil
  ) throws -> (responses: [Response], status: Status) {
    let call = try BlockingCall(
      on: channel, path: method.path, metadata: try bearer(token), deadline: testDeadline())
    try call.send(request.encoded())
    try call.sendEnd()
    var responses: [Response] = []
    while let bytes = try call.receive() { responses.append(try Response(decoding: bytes)) }
    return (responses, try call.finish().status)
  }
}

/// The typed details of an error.
struct ErrorDetails {
  var code: Int32
  var message: String
  var reason: String?
  var fields: [String] = []
  var retryMilliseconds: Int64?

  init(_ status: Google_Rpc_Status) throws {
    code = status.code
    message = status.message
    for detail in status.details {
      if let info = try detail.unpacked(as: Google_Rpc_ErrorInfo.self) {
        #expect(info.domain == "silica")
        reason = info.reason
      } else if let request = try detail.unpacked(as: Google_Rpc_BadRequest.self) {
        fields += request.fieldViolations.map(\.field)
      } else if let retry = try detail.unpacked(as: Google_Rpc_RetryInfo.self) {
        retryMilliseconds = retry.retryDelay.milliseconds
      }
    }
  }

  init(_ failed: Silica_V1_Failed?) throws {
    try self.init(try #require(failed).status)
  }

  /// Of a call's status, whose own code and message must agree with the details.
  init(_ status: Status) throws {
    try self.init(try Google_Rpc_Status(decoding: status.details))
    #expect(code == status.code.rawValue)
    #expect(message == status.message)
  }
}
