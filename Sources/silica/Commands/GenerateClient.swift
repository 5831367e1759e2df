// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Wire

/// Sends one request to a server and writes its text as it comes.
struct GenerateClient {
  let server: ServerAccess

  func run(_ start: Silica_V1_Start, showsUsage: Bool) throws {
    let poller = Poller(name: "client")
    defer { poller.stop() }
    let channel = Channel(to: server.address, poller: poller, credentials: server.credentials)
    let call = try BlockingCall(
      on: channel, path: Silica_V1_Inference.generate.path, metadata: server.metadata)
    try call.send(Silica_V1_GenerateRequest.with { $0.start = start }.encoded())
    try call.sendEnd()
    while let bytes = try call.receive() {
      switch try Silica_V1_GenerateResponse(decoding: bytes).event {
      case .delta(let delta): Console.out(delta.text)
      case .finished(let finished): finish(finished, showsUsage: showsUsage)
      case .accepted, .progress, nil: break
      }
    }
    let status = try call.finish().status
    guard status.code == .ok else {
      throw CommandError("\(server.address): \(status.message) (\(status.code))")
    }
  }

  private func finish(_ finished: Silica_V1_Finished, showsUsage: Bool) {
    Console.out("\n")
    guard showsUsage else { return }
    let usage = finished.usage
    let timings = finished.timings
    Console.error(
      "silica: \(finished.reason): \(usage.promptTokens) prompt tokens "
        + "(\(usage.cachedTokens) cached) in \(timings.prefillUs / 1_000) ms, "
        + "\(usage.generatedTokens) generated in \(timings.decodeUs / 1_000) ms, "
        + "queued \(timings.queueUs / 1_000) ms\n")
  }
}
