// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport

/// A copy of the bundled checkpoint, to be damaged.
struct CheckpointCopy {
  static let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

  private let folder: TemporaryDirectory
  var directory: String { folder.path("model") }

  init() throws {
    folder = try TemporaryDirectory()
    try FileManager.default.copyItem(atPath: TestModel.tiny, toPath: directory)
  }

  private func url(_ file: String) -> URL { URL(filePath: directory).appending(path: file) }

  func remove(_ file: String) throws { try FileManager.default.removeItem(at: url(file)) }

  func write(_ text: String, to file: String) throws {
    try Data(text.utf8).write(to: url(file))
  }

  /// Keeps only the first bytes of a file.
  func cut(_ file: String, to count: Int) throws {
    try Data(contentsOf: url(file)).prefix(count).write(to: url(file))
  }

  /// Changes a JSON object.
  func change(_ file: String, _ change: (inout [String: Any]) -> Void) throws {
    try Self.changed(Data(contentsOf: url(file)), change).write(to: url(file))
  }

  /// Changes the header of a safetensors file. The data stays.
  func changeHeader(_ file: String, _ change: (inout [String: Any]) -> Void) throws {
    let data = try Data(contentsOf: url(file))
    let length = data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try Self.changed(data[8..<8 + length], change)
    try Self.withLength(header.count, header + data[(8 + length)...]).write(to: url(file))
  }

  /// Says that the header of a safetensors file has this many bytes.
  func claimHeaderLength(_ file: String, _ length: Int) throws {
    let data = try Data(contentsOf: url(file))
    try Self.withLength(length, data.dropFirst(8)).write(to: url(file))
  }

  private static func withLength(_ length: Int, _ rest: Data) -> Data {
    withUnsafeBytes(of: UInt64(length).littleEndian) { Data($0) } + rest
  }

  private static func changed(_ json: Data, _ change: (inout [String: Any]) -> Void) throws -> Data
  {
    var object = try JSONSerialization.jsonObject(with: json) as? [String: Any] ?? [:]
    change(&object)
    return try JSONSerialization.data(withJSONObject: object)
  }
}
