// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

/// One server of the bundled model for all tests of a suite.
struct TinyServer: SuiteTrait, TestScoping {
  @TaskLocal private static var current: RunningServer?

  /// The suite's server.
  static func address() throws -> String { try #require(current).target }
  static func server() throws -> RunningServer { try #require(current) }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    let server = try RunningServer.start(model: TestModel.tiny)
    defer { server.stop() }
    try await Self.$current.withValue(server) { try await body() }
  }
}

extension Trait where Self == TinyServer {
  static var servesTinyModel: Self { TinyServer() }
}

/// The scripts of `Tests/Python`.
enum Script {
  /// Runs one to its end, and expects that it is content.
  static func expectSuccess(
    _ name: String, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let result = try PythonProcess.run([Repository.path("Tests/Python/\(name)")] + arguments)
    #expect(
      result.status == 0, "\(name) \(arguments): \(result.errors)", sourceLocation: sourceLocation)
  }
}
