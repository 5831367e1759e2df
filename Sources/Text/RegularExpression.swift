// SPDX-License-Identifier: Apache-2.0

import CPCRE2
import Support

/// A compiled regular expression over UTF-8, run by PCRE2's just-in-time compiler.
///
/// `@unchecked Sendable`: compiled code is not changed after `init`; what a match writes is in the
/// caller's `MatchData`.
final class RegularExpression: @unchecked Sendable {
  /// Where a match writes its result. For one thread at a time, and cheap to make.
  final class MatchData {
    fileprivate let data: OpaquePointer
    fileprivate let offsets: UnsafeMutablePointer<Int>

    init() throws(TokenizerError) {
      guard let data = pcre2_match_data_create_8(1, nil),
        let offsets = pcre2_get_ovector_pointer_8(data)
      else { throw TokenizerError(.resourceExhausted, "no memory for a regular expression") }
      self.data = data
      self.offsets = UnsafeMutableRawPointer(offsets).assumingMemoryBound(to: Int.self)
    }

    deinit { pcre2_match_data_free_8(data) }
  }

  /// Steps of one match, at most; text on which a pattern takes longer is refused.
  private static let matchLimit: UInt32 = 50_000_000
  /// Memory of one match, at most, in KiB.
  private static let heapLimit: UInt32 = 256 << 10

  private let pattern: String
  private let code: OpaquePointer
  private let limits: OpaquePointer
  private let isCompiledToMachineCode: Bool

  /// - Parameter pattern: in Oniguruma's syntax.
  convenience init(oniguruma pattern: String) throws(TokenizerError) {
    try self.init(
      try OnigurumaPattern.translated(pattern), shownAs: pattern, options: PCRE2_MULTILINE)
  }

  /// Matches `text` itself.
  convenience init(literal text: String) throws(TokenizerError) {
    try self.init(text, shownAs: text, options: PCRE2_LITERAL)
  }

  private init(_ pattern: String, shownAs shown: String, options: UInt32) throws(TokenizerError) {
    self.pattern = shown
    let context = pcre2_compile_context_create_8(nil)
    defer { pcre2_compile_context_free_8(context) }
    pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF))
    var error: Int32 = 0
    var offset = 0
    let utf8 = Array(pattern.utf8)
    let flags = PCRE2_UTF | options | (options == PCRE2_LITERAL ? 0 : PCRE2_UCP)
    guard let code = pcre2_compile_8(utf8, utf8.count, flags, &error, &offset, context) else {
      throw TokenizerError(
        "the regular expression '\(shown)' is wrong: \(Self.message(of: error))")
    }
    guard let limits = pcre2_match_context_create_8(nil) else {
      pcre2_code_free_8(code)
      throw TokenizerError(.resourceExhausted, "no memory for a regular expression")
    }
    pcre2_set_match_limit_8(limits, Self.matchLimit)
    pcre2_set_heap_limit_8(limits, Self.heapLimit)
    self.code = code
    self.limits = limits
    isCompiledToMachineCode = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE)) == 0
  }

  deinit {
    pcre2_match_context_free_8(limits)
    pcre2_code_free_8(code)
  }

  /// The first match at or behind `start`; nil if there is none.
  ///
  /// - Parameter subject: valid UTF-8; nothing outside of it is looked at.
  func firstMatch(
    in subject: UnsafeBufferPointer<UInt8>, from start: Int, using match: MatchData
  ) throws(TokenizerError) -> Range<Int>? {
    var status = PCRE2_ERROR_JIT_STACKLIMIT
    if isCompiledToMachineCode {
      status = pcre2_jit_match_8(
        code, subject.baseAddress, subject.count, start, 0, match.data, limits)
    }
    if status == PCRE2_ERROR_JIT_STACKLIMIT {
      // The interpreter keeps its state on the heap.
      status = pcre2_match_8(
        code, subject.baseAddress, subject.count, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
        match.data, limits)
    }
    if status == PCRE2_ERROR_NOMATCH { return nil }
    guard status >= 0 else {
      throw TokenizerError(
        .resourceExhausted,
        "the text cannot be split by '\(pattern)': \(Self.message(of: status))")
    }
    return match.offsets[0]..<match.offsets[1]
  }

  /// Calls `body` with each match in order, as Oniguruma finds them: an empty match directly
  /// behind the previous match is passed over.
  func forEachMatch(
    in subject: UnsafeBufferPointer<UInt8>, using match: MatchData, _ body: (Range<Int>) -> Void
  ) throws(TokenizerError) {
    var position = 0
    var previousEnd = -1
    while position <= subject.count,
      let found = try firstMatch(in: subject, from: position, using: match)
    {
      if found.isEmpty && found.upperBound == previousEnd {
        position += Self.characterLength(subject, at: position)
        continue
      }
      body(found)
      position = found.upperBound
      previousEnd = found.upperBound
    }
  }

  private static func characterLength(_ text: UnsafeBufferPointer<UInt8>, at index: Int) -> Int {
    var end = index + 1
    while end < text.count && text[end] & 0xC0 == 0x80 { end += 1 }
    return end - index
  }

  private static func message(of error: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 256)
    guard pcre2_get_error_message_8(error, &buffer, buffer.count) >= 0 else {
      return "error \(error)"
    }
    return String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
  }
}
