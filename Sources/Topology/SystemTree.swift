// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The files of `/sys` and `/proc` under a root, so that tests can describe machines that are not
/// here. Files that are missing or malformed read as nil: kernels and containers differ.
struct SystemTree {
  /// Longest file that is read, in bytes.
  static let fileSizeMax = 1 << 16

  let root: String

  /// The text of a file, without the final newline.
  func text(_ path: String) -> String? {
    let descriptor = open("\(root)/\(path)", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < Self.fileSizeMax {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count >= 0 else { return nil }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    while let last = bytes.last, last == 0x0A || last == 0x20 { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  func lines(_ path: String) -> [Substring] {
    text(path)?.split(separator: "\n") ?? []
  }

  func integer(_ path: String) -> Int? { text(path).flatMap { Int($0) } }

  /// A list of numbers as the kernel writes them: "0-3,8".
  func list(_ path: String) -> [Int]? { text(path).flatMap(parseCPUList) }

  /// A file of lines such as "MemTotal:  5728472 kB", whatever stands before the key: in bytes.
  func kibibytes(_ key: String, in path: String) -> Int? {
    for line in lines(path) {
      let words = line.split(separator: " ")
      guard let index = words.firstIndex(of: "\(key):"), index + 1 < words.count else { continue }
      return Int(words[index + 1]).map { $0 * 1024 }
    }
    return nil
  }

  /// A line of `/proc/self/status`: the text after "key:".
  func status(_ key: String) -> String? {
    for line in lines("proc/self/status") where line.hasPrefix("\(key):") {
      return String(line.dropFirst(key.count + 1).drop { $0 == "\t" || $0 == " " })
    }
    return nil
  }

  /// A size such as "48K" or "2M", in bytes.
  func size(_ path: String) -> Int? {
    guard let text = text(path), let unit = text.last else { return nil }
    let scales: [Character: Int] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
    guard let scale = scales[unit] else { return Int(text) }
    return Int(text.dropLast()).map { $0 * scale }
  }
}

/// The numbers of a kernel list such as "0-3,8,10-11", in rising order; nil when malformed.
func parseCPUList(_ text: String) -> [Int]? {
  var numbers = Set<Int>()
  for part in text.split(separator: ",") {
    let ends = part.drop { $0 == " " }.split(separator: "-", omittingEmptySubsequences: false)
      .map { Int($0) }
    guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2,
      first >= 0, first <= last, last < cpuNumberMax
    else { return nil }
    numbers.formUnion(first...last)
  }
  return numbers.sorted()
}

/// One more than the highest CPU or node number that is believed.
private let cpuNumberMax = 1 << 16
