// SPDX-License-Identifier: Apache-2.0

import Testing

/// The program from outside: started as a user starts it, spoken to as a client speaks to it.
///
/// One test after the other: each runs programs beside it and measures them, and two cores are
/// enough for one server and one client.
@Suite(.serialized, .ahead) enum EndToEnd {}

/// Runs a suite's tests before others that wait for a thread. All tests of all targets wait in one
/// line, a serialized suite with one of its own at a time: each of these would come behind all
/// others, and the suite would begin when they have ended. So it runs beside them.
private struct Ahead: SuiteTrait, TestScoping {
  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    try await withoutActuallyEscaping(body) { body in
      try await Task(priority: .high) { try await body() }.value
    }
  }
}

extension Trait where Self == Ahead {
  fileprivate static var ahead: Self { Ahead() }
}
