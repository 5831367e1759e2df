// SPDX-License-Identifier: Apache-2.0

/// The options that a subcommand was called with, checked against those it has.
struct Arguments {
  private var values: [String: [String]] = [:]

  /// Reads `--name value`, `--name=value` and switches; throws on anything else.
  init(_ words: some Sequence<String>, options: [Option]) throws(UsageError) {
    let known = Dictionary(uniqueKeysWithValues: options.map { ($0.name, $0) })
    var rest = Array(words)[...]
    while let word = rest.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard name.hasPrefix("--") else {
        throw UsageError("unexpected argument '\(word)'; options begin with --")
      }
      guard let option = known[name] else {
        throw UsageError("unknown option '\(name)'" + Self.suggestion(for: name, among: options))
      }
      guard option.isRepeatable || values[name] == nil else {
        throw UsageError("\(name) is given twice")
      }
      values[name, default: []].append(
        try Self.value(of: option, inline: parts.count > 1 ? String(parts[1]) : nil, &rest))
    }
  }

  private static func value(
    of option: Option, inline: String?, _ rest: inout ArraySlice<String>
  ) throws(UsageError) -> String {
    guard let placeholder = option.value else {
      guard inline == nil else { throw UsageError("\(option.name) takes no value") }
      return ""
    }
    if let inline { return inline }
    guard let next = rest.popFirst() else {
      throw UsageError("\(option.name) needs a value: \(option.name) \(placeholder)")
    }
    return next
  }

  private static func suggestion(for name: String, among options: [Option]) -> String {
    let close = options.map(\.name).filter { $0.hasPrefix(name) || name.hasPrefix($0) }
    return close.isEmpty ? "" : "; did you mean \(close.joined(separator: " or "))?"
  }

  // MARK: Values

  func has(_ name: String) -> Bool { values[name] != nil }

  func string(_ name: String) -> String? { values[name]?.first }

  func strings(_ name: String) -> [String] { values[name] ?? [] }

  func required(_ name: String) throws(UsageError) -> String {
    guard let value = string(name) else { throw UsageError("\(name) is required") }
    return value
  }

  /// A whole number in a range, or nil when the option is not given.
  func integer(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int? {
    guard let text = string(name) else { return nil }
    guard let value = Int(text), range.contains(value) else {
      throw UsageError(
        "\(name) is '\(text)'; expected a whole number from \(range.lowerBound)"
          + (range.upperBound == .max ? "" : " to \(range.upperBound)"))
    }
    return value
  }

  func float(_ name: String) throws(UsageError) -> Float? {
    guard let text = string(name) else { return nil }
    guard let value = Float(text), value.isFinite else {
      throw UsageError("\(name) is '\(text)'; expected a number")
    }
    return value
  }

  /// Whole numbers divided by commas.
  func integers(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> [Int]? {
    guard let text = string(name) else { return nil }
    var numbers: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let digits = part.filter { $0 != " " }
      guard let number = Int(digits), range.contains(number) else {
        throw UsageError("\(name) holds '\(part)'; expected whole numbers such as 1,2,3")
      }
      numbers.append(number)
    }
    return numbers
  }

  /// Bytes, with an optional suffix K, M, G or T (powers of 1,024).
  func bytes(_ name: String) throws(UsageError) -> Int? {
    guard let text = string(name) else { return nil }
    let units: [Character: Int] = ["K": 10, "M": 20, "G": 30, "T": 40]
    var digits = text.uppercased()
    if digits.hasSuffix("B") { digits.removeLast() }
    if digits.hasSuffix("I") { digits.removeLast() }
    let shift = digits.last.flatMap { units[$0] } ?? 0
    if shift > 0 { digits.removeLast() }
    guard let number = Double(digits), number > 0, number * Double(1 << shift) < 1e18 else {
      throw UsageError("\(name) is '\(text)'; expected a size such as 512M or 8G")
    }
    return Int(number * Double(1 << shift))
  }

  /// One of some words.
  func choice(_ name: String, of words: [String]) throws(UsageError) -> String? {
    guard let text = string(name) else { return nil }
    guard words.contains(text) else {
      throw UsageError("\(name) is '\(text)'; expected \(words.joined(separator: ", "))")
    }
    return text
  }
}
