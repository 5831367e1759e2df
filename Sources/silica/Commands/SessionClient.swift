// SPDX-License-Identifier: Apache-2.0

import Messages
import RPC
import Support
import Wire

/// Runs several requests as generations of one `Session` stream and shows how they interleave:
/// each line is one delta, or the thoughts or the answer of one, with its generation's number
/// before it.
struct SessionClient {
  let server: ServerAccess

  func run(_ starts: [Silica_V1_Start], showsUsage: Bool) throws {
    let poller = Poller(name: "client")
    defer { poller.stop() }
    let channel = Channel(to: server.address, poller: poller, credentials: server.credentials)
    let call = try BlockingCall(
      on: channel, path: Silica_V1_Inference.session.path, metadata: server.metadata)
    for (index, start) in starts.enumerated() {
      try call.send(
        Silica_V1_ClientFrame.with { frame in
          frame.generation = UInt32(index + 1)
          frame.frame = .start(start)
        }.encoded())
    }
    // The server ends the call once every generation has ended.
    try call.sendEnd()
    let begin = Clock.nowNanoseconds
    var summary = Summary()
    while let bytes = try call.receive() {
      summary.show(try Silica_V1_ServerFrame(decoding: bytes))
    }
    let status = try call.finish().status
    guard status.code == .ok else {
      throw CommandError("\(server.address): \(status.message) (\(status.code))")
    }
    if showsUsage { summary.print(seconds: Double(Clock.nowNanoseconds - begin) / 1e9) }
    if let failure = summary.failure { throw CommandError(failure) }
  }

  /// What has come so far.
  private struct Summary {
    private var table = Table(
      header: [
        "generation", "end", "prompt", "tokens", "queue ms", "prefill ms", "decode ms",
      ])
    private var tokenCount = 0
    private var splitters: [UInt32: ThoughtSplitter] = [:]
    /// The first error of a generation.
    private(set) var failure: String?

    mutating func show(_ frame: Silica_V1_ServerFrame) {
      let number = frame.generation
      switch frame.frame {
      case .accepted(let accepted):
        splitters[number] = ThoughtSplitter(isThinking: accepted.thinking)
      case .delta(let delta):
        for part in splitters[number]?.split(delta.text) ?? [] {
          let label = part.isThought ? "thinks " : ""
          Console.out("[\(number)] \(label)\(JSON.string(String(part.text)))\n")
        }
      case .finished(let finished):
        let usage = finished.usage
        let timings = finished.timings
        tokenCount += Int(usage.generatedTokens)
        table.rows.append([
          "\(number)", "\(finished.reason)", "\(usage.promptTokens)", "\(usage.generatedTokens)",
          "\(timings.queueUs / 1_000)", "\(timings.prefillUs / 1_000)",
          "\(timings.decodeUs / 1_000)",
        ])
      case .failed(let failed):
        failure = failure ?? "generation \(number): \(failed.status.message)"
      case .goAway(let message):
        Console.error("silica: the server is going away: \(message.reason)\n")
      case .progress, .load, .pong, nil: break
      }
    }

    func print(seconds: Double) {
      let rate = Int(Double(tokenCount) / max(seconds, 1e-9))
      Console.out("\n\(table.text)")
      Console.out(
        "\n\(table.rows.count) generations on one stream: \(tokenCount) tokens in "
          + "\((seconds * 100).rounded() / 100) s, \(rate) tokens/s\n")
    }
  }
}
