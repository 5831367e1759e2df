// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// Which poller has the generation of a resume token. One for the server; used when such a
/// generation begins, moves and ends, never for a token of text. Any thread.
final class ResumeDirectory: Sendable {
  private let lanes = Mutex<[String: Lane]>([:])

  /// A token that nobody can guess: 128 random bits of the system.
  static func makeToken() -> String {
    var random = SystemRandomNumberGenerator()
    let halves = [random.next(), random.next()].map { (half: UInt64) in
      let digits = String(half, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }
    return halves.joined()
  }

  func set(_ token: String, to lane: Lane) { lanes.withLock { $0[token] = lane } }

  func remove(_ token: String) { lanes.withLock { $0[token] = nil } }

  func lane(of token: String) -> Lane? { lanes.withLock { $0[token] } }
}
