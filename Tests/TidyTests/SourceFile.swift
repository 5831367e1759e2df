// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The folder that holds `Package.swift`.
let repositoryRoot = URL(filePath: #filePath).deletingLastPathComponent()
  .deletingLastPathComponent().deletingLastPathComponent()

/// A file of the repository and its lines.
struct SourceFile {
  /// From the repository's root: "Sources/Wire/WireReader.swift".
  let path: String
  let lines: [String]

  var name: String { String(path.split(separator: "/").last ?? "") }
  /// The folder below Sources, Tests or CShims.
  var target: String { String(path.split(separator: "/").dropFirst().first ?? "") }
  var isGenerated: Bool { path.contains("/Generated/") }

  /// Modules that the file imports.
  var imports: [String] {
    lines.compactMap { line in
      var words = line.split(separator: " ").map(String.init)
      while let first = words.first, first.hasPrefix("@") || Self.accessLevels.contains(first) {
        words.removeFirst()
      }
      guard words.count > 1, words[0] == "import" else { return nil }
      return words[1].split(separator: ".").first.map(String.init)
    }
  }

  private static let accessLevels: Set = [
    "public", "package", "internal", "private", "fileprivate",
  ]
  private static let skipped: Set = [".build", ".git", ".venv", "dist", "__pycache__"]

  /// All files with one of the extensions below a folder of the repository, in order of path.
  static func all(under folder: String, extensions: Set<String>) throws -> [SourceFile] {
    let root = repositoryRoot.appending(path: folder)
    let files = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)
    var found: [SourceFile] = []
    while let url = files?.nextObject() as? URL {
      if skipped.contains(url.lastPathComponent) { files?.skipDescendants() }
      guard extensions.contains(url.pathExtension) else { continue }
      let text = try String(contentsOf: url, encoding: .utf8)
      found.append(
        SourceFile(
          path: String(url.path.dropFirst(repositoryRoot.path.count))
            .trimmingCharacters(in: ["/"]),
          lines: text.components(separatedBy: "\n")))
    }
    return found.sorted { $0.path < $1.path }
  }
}

/// What `Package.swift` says of its targets.
enum PackageFile {
  /// The dependencies of each target that has a folder below Sources.
  static func targets() throws -> [String: Set<String>] {
    let text = try String(
      contentsOf: repositoryRoot.appending(path: "Package.swift"), encoding: .utf8)
    var targets: [String: Set<String>] = [:]
    let patterns = [
      #"library\(\s*"([^"]+)"(?:,\s*\[([^\]]*)\])?\s*\)"#,
      #"executableTarget\(\s*name: "([^"]+)",\s*dependencies: \[([^\]]*)\]"#,
    ]
    for pattern in patterns {
      let expression = try NSRegularExpression(pattern: pattern)
      let whole = NSRange(text.startIndex..., in: text)
      for match in expression.matches(in: text, range: whole) {
        guard let name = Range(match.range(at: 1), in: text) else { continue }
        let list = Range(match.range(at: 2), in: text).map { String(text[$0]) } ?? ""
        let names = list.components(separatedBy: "\"").enumerated()
          .filter { $0.offset % 2 == 1 }.map(\.element)
        targets[String(text[name])] = Set(names)
      }
    }
    return targets
  }
}
