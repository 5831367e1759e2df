// SPDX-License-Identifier: Apache-2.0

import Engine
import RPC
import Serving

/// The server that a client's command talks to: a running one, or one of this process.
enum CommandServer {
  static let options =
    [Option("--target", "HOST:PORT", "a running server; without it --model is loaded here")]
    + ServerAccess.options + ModelOptions.options + SyntheticOptions.options

  /// Runs `body` with the server at `--target`, or with one of `--model` that lives as long.
  ///
  /// - Parameter batchMax: sequences that `body` runs at once, at most.
  static func use(
    _ arguments: Arguments, batchMax: Int, _ body: (ServerAccess) throws -> Void
  ) throws {
    if let target = try arguments.addresses("--target").first {
      guard !arguments.has("--model") else {
        throw UsageError("give --target or --model, not both")
      }
      return try body(try ServerAccess(target, arguments))
    }
    guard arguments.has("--model") else { throw UsageError("give --target or --model") }
    let model = try LoadedModel(try ModelOptions(arguments, batchMax: batchMax))
    defer { model.engine.shutdown() }
    if let note = model.note { Console.error("silica: note: \(note)\n") }
    let server = try model.server(
      ServerConfiguration(addresses: [Address(host: "127.0.0.1", port: 0)]), pollerCount: 1)
    defer { server.stop(grace: .zero) }
    try server.start()
    guard let address = server.addresses.first else { return }
    try body(ServerAccess(plain: address))
  }
}
