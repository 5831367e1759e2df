// SPDX-License-Identifier: Apache-2.0

/// What becomes of the text that a pre-tokenizer matches.
enum SplitBehavior: String {
  /// Matches are dropped.
  case removed = "Removed"
  /// Each match is a piece.
  case isolated = "Isolated"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  /// Neighbouring matches are one piece.
  case contiguous = "Contiguous"
}

/// One stage that cuts pieces of text into smaller pieces; byte-pair merges never cross a cut.
enum PreTokenizer {
  /// - Parameter isInverted: what does not match counts as the match.
  case split(RegularExpression, SplitBehavior, isInverted: Bool)
  /// Runs of numeric characters, or each of them alone.
  case digits(areIndividual: Bool)
  /// A space before each piece that has none, then the splits of GPT-2 if there is an expression.
  case byteLevel(addsPrefixSpace: Bool, RegularExpression?)

  /// The expression of GPT-2, which a ByteLevel stage with `use_regex` splits by.
  static let byteLevelPattern =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
}

/// Text in UTF-8 and the pieces that it is cut into so far.
struct PreTokenizedText {
  private(set) var bytes: [UInt8]
  /// In order, none empty.
  private(set) var pieces: [Range<Int>]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    pieces = bytes.isEmpty ? [] : [0..<bytes.count]
  }

  mutating func apply(
    _ stage: PreTokenizer, using match: RegularExpression.MatchData
  ) throws(TokenizerError) {
    switch stage {
    case .split(let expression, let behavior, let isInverted):
      try split(expression, behavior, isInverted, match)
    case .digits(let areIndividual):
      splitDigits(areIndividual ? .isolated : .contiguous)
    case .byteLevel(let addsPrefixSpace, let expression):
      if addsPrefixSpace { addPrefixSpaces() }
      if let expression { try split(expression, .isolated, false, match) }
    }
  }

  private mutating func split(
    _ expression: RegularExpression, _ behavior: SplitBehavior, _ isInverted: Bool,
    _ match: RegularExpression.MatchData
  ) throws(TokenizerError) {
    var cutter = PieceCutter(behavior: behavior, isInverted: isInverted, capacity: pieces.count)
    let failure = bytes.withUnsafeBufferPointer { text -> TokenizerError? in
      for piece in pieces {
        cutter.begin(piece)
        do throws(TokenizerError) {
          try expression.forEachMatch(in: .init(rebasing: text[piece]), using: match) { found in
            cutter.match(piece.lowerBound + found.lowerBound..<piece.lowerBound + found.upperBound)
          }
        } catch { return error }
        cutter.end()
      }
      return nil
    }
    if let failure { throw failure }
    pieces = cutter.pieces
  }

  private mutating func splitDigits(_ behavior: SplitBehavior) {
    var cutter = PieceCutter(behavior: behavior, isInverted: false, capacity: pieces.count)
    for piece in pieces {
      cutter.begin(piece)
      var position = piece.lowerBound
      while position < piece.upperBound {
        let (scalar, length) = UTF8Text.scalar(in: bytes, at: position)
        if scalar.isNumeric { cutter.match(position..<position + length) }
        position += length
      }
      cutter.end()
    }
    pieces = cutter.pieces
  }

  private mutating func addPrefixSpaces() {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + pieces.count)
    for index in pieces.indices {
      let start = result.count
      if bytes[pieces[index].lowerBound] != UInt8(ascii: " ") { result.append(UInt8(ascii: " ")) }
      result += bytes[pieces[index]]
      pieces[index] = start..<result.count
    }
    bytes = result
  }
}

/// Turns the matches within pieces into smaller pieces.
private struct PieceCutter {
  let behavior: SplitBehavior
  let isInverted: Bool
  private(set) var pieces: [Range<Int>] = []
  private var piece = 0..<0
  private var position = 0
  /// Pieces of the current piece start here.
  private var first = 0
  private var previousIsMatch = false

  init(behavior: SplitBehavior, isInverted: Bool, capacity: Int) {
    self.behavior = behavior
    self.isInverted = isInverted
    pieces.reserveCapacity(capacity * 2)
  }

  mutating func begin(_ piece: Range<Int>) {
    self.piece = piece
    position = piece.lowerBound
    first = pieces.count
    previousIsMatch = false
  }

  /// The next match within the current piece.
  mutating func match(_ range: Range<Int>) {
    if position < range.lowerBound { add(position..<range.lowerBound, isMatch: isInverted) }
    add(range, isMatch: !isInverted)
    position = range.upperBound
  }

  mutating func end() {
    if position < piece.upperBound { add(position..<piece.upperBound, isMatch: isInverted) }
    // An empty match may have left an empty piece.
    if pieces[first...].contains(where: \.isEmpty) {
      pieces.replaceSubrange(first..., with: pieces[first...].filter { !$0.isEmpty })
    }
  }

  private mutating func add(_ range: Range<Int>, isMatch: Bool) {
    let joins =
      switch behavior {
      case .isolated, .removed: false
      case .mergedWithPrevious: isMatch && !previousIsMatch
      case .mergedWithNext: !isMatch && previousIsMatch
      case .contiguous: isMatch == previousIsMatch
      }
    previousIsMatch = isMatch
    if behavior == .removed && isMatch { return }
    if joins && pieces.count > first {
      pieces[pieces.count - 1] = pieces[pieces.count - 1].lowerBound..<range.upperBound
    } else {
      pieces.append(range)
    }
  }
}
