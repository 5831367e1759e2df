// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Foundation
import Program
import TestSupport

/// A checkpoint's folder that a test writes and spoils.
struct CheckpointFolder {
  /// The least that a model's configuration says.
  static let config = """
    {"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "max_position_embeddings": 64}
    """

  let directory: TemporaryDirectory

  var path: String { directory.path }

  init(config: String = Self.config) throws {
    directory = try TemporaryDirectory()
    try write("config.json", config)
  }

  // The folder lives as long as `directory`, so these keep it while they read.

  func open() throws(CheckpointError) -> Checkpoint {
    defer { withExtendedLifetime(directory) {} }
    return try Checkpoint(directory: path)
  }

  func configuration() throws(CheckpointError) -> ModelConfiguration {
    defer { withExtendedLifetime(directory) {} }
    return try ModelConfiguration(
      ConfigurationFields(contentsOf: directory.path("config.json")))
  }

  func write(_ name: String, _ text: String) throws { try write(name, Array(text.utf8)) }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: directory.path(name)))
  }

  func remove(_ name: String) throws {
    try FileManager.default.removeItem(atPath: directory.path(name))
  }

  /// A safetensors file of any header and any data, right or wrong.
  static func safetensors(_ header: String, dataByteCount: Int, lengthSaid: UInt64? = nil)
    -> [UInt8]
  {
    let text = Array(header.utf8)
    let length = lengthSaid ?? UInt64(text.count)
    let data = (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0) }
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + text + data
  }

  /// A header of F32 vectors of these lengths, one behind the other.
  static func header(_ tensors: KeyValuePairs<String, Int>) -> String {
    var offset = 0
    let members = tensors.map { name, count in
      let start = offset
      offset += 4 * count
      return """
        "\(name)":{"dtype":"F32","shape":[\(count)],"data_offsets":[\(start),\(offset)]}
        """
    }
    return "{\(members.joined(separator: ","))}"
  }
}

extension StoredTensor {
  /// A copy of the bytes, made while the tensor is sure to live.
  var bytesCopied: [UInt8] { withExtendedLifetime(owner) { Array(bytes) } }
}
