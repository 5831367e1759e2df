// SPDX-License-Identifier: Apache-2.0

/// The comments of a proto file, by the place of what they describe.
struct Comments {
  private let byPath: [[Int32]: String]

  init(_ info: Google_Protobuf_SourceCodeInfo) {
    var byPath: [[Int32]: String] = [:]
    for location in info.location {
      let comment =
        location.leadingComments.isEmpty ? location.trailingComments : location.leadingComments
      if !comment.isEmpty { byPath[location.path] = comment }
    }
    self.byPath = byPath
  }

  /// The comment as lines of a doc comment.
  func documentation(_ path: [Int32]) -> [String] {
    guard let comment = byPath[path] else { return [] }
    var lines = comment.split(separator: "\n", omittingEmptySubsequences: false)
    while lines.last?.allSatisfy(\.isWhitespace) == true { lines.removeLast() }
    return lines.map { line in
      let text = line.first == " " ? line.dropFirst() : line
      return text.allSatisfy(\.isWhitespace) ? "///" : "/// \(text)"
    }
  }
}
