// SPDX-License-Identifier: Apache-2.0

import Support

/// What `silica verify` looks at.
enum VerifiedCheck: String, CaseIterable {
  /// Each operation by itself beside the reference.
  case operations
  /// The same tokens in other chunks.
  case chunks
  /// Steps as kernels, as graphs and as one launch.
  case steps
  /// Keys in slices.
  case slices
  /// Latent attention of prompts in its expanded form.
  case expanded
  /// Tokens drawn.
  case draws

  static func list(_ arguments: Arguments) throws(UsageError) -> Set<VerifiedCheck> {
    guard let list = arguments.string("--checks") else { return Set(allCases) }
    var checks: Set<VerifiedCheck> = []
    for word in list.split(separator: ",").map(String.init) {
      guard let check = VerifiedCheck(rawValue: word) else {
        let known = allCases.map(\.rawValue).joined(separator: ", ")
        throw UsageError("--checks holds '\(word)'; expected \(known)")
      }
      checks.insert(check)
    }
    return checks
  }
}

/// What came of one check.
struct CheckResult {
  var subject: String
  /// nil where bits are compared.
  var error: Float?
  var bound: Float = 0
  /// What was thrown; nil: nothing.
  var failure: String?
  var isRight: Bool

  static func error(_ error: Float, of subject: String, atMost bound: Float) -> CheckResult {
    CheckResult(subject: subject, error: error, bound: bound, isRight: error <= bound)
  }

  static func bits(_ subject: String, areSame: Bool) -> CheckResult {
    CheckResult(subject: subject, isRight: areSame)
  }
}

/// Writes a line for each check when it is done.
final class VerifyReport {
  private let isJSON: Bool
  private(set) var failures = 0

  init(isJSON: Bool) { self.isJSON = isJSON }

  /// Says what is under way, in case that it does not end; details not to a person.
  func progress(_ shape: String, _ precision: String, _ subject: String, isDetail: Bool = false) {
    if isDetail && Console.errorIsTerminal { return }
    Console.error("verify: \(shape) \(precision): \(subject)\n")
  }

  /// Reports what `body` finds; a failure is a finding too, and stops no other check.
  func attempt(
    _ shape: String, _ precision: String, _ subject: String, _ body: () throws -> [CheckResult]
  ) throws(UsageError) {
    progress(shape, precision, subject)
    do {
      for result in try body() { add(result, shape, precision) }
    } catch let error as UsageError {
      throw error
    } catch {
      add(
        CheckResult(subject: subject, failure: "\(error)", isRight: false), shape, precision)
    }
  }

  private func add(_ result: CheckResult, _ shape: String, _ precision: String) {
    failures += result.isRight ? 0 : 1
    let found =
      result.failure ?? result.error.map { "error \($0), at most \(result.bound)" }
      ?? (result.isRight ? "bit for bit" : "other bits")
    let word = result.isRight ? "ok    " : "WRONG "
    let line = "\(word)\(shape) \(precision) \(result.subject): \(found)"
    let json: JSON = [
      "shape": .string(shape), "precision": .string(precision), "check": .string(result.subject),
      "error": result.error.map { .number(Double($0)) } ?? .null,
      "failure": result.failure.map { .string($0) } ?? .null, "ok": .bool(result.isRight),
    ]
    Console.out((isJSON ? json.description : line) + "\n")
  }
}
