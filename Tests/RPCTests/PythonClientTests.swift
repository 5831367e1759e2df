// SPDX-License-Identifier: Apache-2.0

import RPC
import TestSupport
import Testing

/// The same wire as somebody else's gRPC: Python's grpcio against our server.
@Suite struct PythonClientTests {
  private func lines(_ scenario: String, count: Int) throws -> [String] {
    let server = try TestServer()
    defer { server.shutdown() }
    let client = try PythonClient.start(scenario, server.address)
    let lines = try (0..<count).map { _ in try client.readLine() }
    #expect(try client.finish() == 0)
    return lines
  }

  @Test func `a Python client calls, streams and echoes`() throws {
    #expect(try lines("unary", count: 1) == ["70696e67"])
    #expect(try lines("stream", count: 1) == ["500 True {100}"])
    #expect(try lines("echo", count: 3) == ["6f6e65", "00ff", "OK"])
  }

  @Test func `a Python client sees metadata and the whole status`() throws {
    #expect(
      try lines("status", count: 5) == [
        "FAILED_PRECONDITION", "no — not “yet”", "hello 0001feff", "hello 0001feff", "080900ff",
      ])
  }

  @Test func `a Python client is told of unknown methods and of messages too large`() throws {
    #expect(
      try lines("unknown", count: 1) == ["UNIMPLEMENTED unknown method /test.Echo/Nothing"])
    #expect(try lines("oversized", count: 2) == ["RESOURCE_EXHAUSTED", "after"])
  }

  @Test func `a client that pings every second on a quiet call is not cut off`() throws {
    #expect(try lines("quiet", count: 1) == ["DEADLINE_EXCEEDED"])
  }
}

enum PythonClient {
  /// Starts a scenario of `rpc_client.py`: over TLS if there are files, of the authorities, and of
  /// the client's certificate and key.
  static func start(
    _ scenario: String, _ address: Address, _ files: [String] = []
  ) throws -> PythonProcess {
    try PythonProcess(
      script: Repository.path("Tests/Python/rpc_client.py"),
      arguments: [scenario, address.description] + files)
  }
}
