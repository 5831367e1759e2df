// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Wire

/// Sends single requests to a server and writes their text as it comes.
struct GenerateClient {
  let server: ServerAccess
  private let poller = Poller(name: "client")
  private let channel: Channel

  init(server: ServerAccess) {
    self.server = server
    channel = Channel(to: server.address, poller: poller, credentials: server.credentials)
  }

  func stop() { poller.stop() }

  /// Returns the answer, without the model's thoughts.
  @discardableResult
  func run(_ start: Silica_V1_Start, showsUsage: Bool) throws -> String {
    let call = try BlockingCall(
      on: channel, path: Silica_V1_Inference.generate.path, metadata: server.metadata)
    try call.send(Silica_V1_GenerateRequest.with { $0.start = start }.encoded())
    try call.sendEnd()
    var writer = AnswerWriter()
    while let bytes = try call.receive() {
      switch try Silica_V1_GenerateResponse(decoding: bytes).event {
      case .accepted(let accepted): writer.begin(isThinking: accepted.thinking)
      case .delta(let delta): writer.write(delta.text)
      case .finished(let finished):
        writer.finish()
        if showsUsage { show(finished) }
      case .progress, nil: break
      }
    }
    let status = try call.finish().status
    guard status.code == .ok else {
      throw CommandError("\(server.address): \(status.message) (\(status.code))")
    }
    return writer.answer
  }

  private func show(_ finished: Silica_V1_Finished) {
    let usage = finished.usage
    let timings = finished.timings
    Console.error(
      "silica: \(finished.reason): \(usage.promptTokens) prompt tokens "
        + "(\(usage.cachedTokens) cached) in \(timings.prefillUs / 1_000) ms, "
        + "\(usage.generatedTokens) generated in \(timings.decodeUs / 1_000) ms, "
        + "queued \(timings.queueUs / 1_000) ms\n")
  }
}
