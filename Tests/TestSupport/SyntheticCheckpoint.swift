// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support

/// One of the small models of `Tests/Fixtures/models`: its checkpoint made again from the formula
/// of `Tools/oracle/synthetic.py`, and what transformers answered for it.
package struct SyntheticCheckpoint: Sendable {
  /// The models, by name.
  package static var names: [String] {
    let entries = try? FileManager.default.contentsOfDirectory(atPath: folder)
    return (entries ?? []).filter { !$0.hasPrefix(".") }.sorted()
  }

  package let name: String
  /// A folder with config.json and safetensors; removed when the last copy of this value goes.
  package let directory: String
  /// 37 token ids.
  package let prompt: [Int32]
  /// What transformers generates greedily after the prompt.
  package let greedy: [Int32]
  /// transformers' logits after each token of the prompt: `[prompt, vocabulary]`.
  package let logits: [Float]
  /// Those of the token after the next, `[prompt - 1, vocabulary]`; nil for a model without a layer
  /// for multi-token prediction.
  package let afterNext: [Float]?
  /// Those after each token, as `logits`, with products of FP8; nil for a model that is not stored
  /// in FP8.
  package let float8Logits: [Float]?
  private let temporary: TemporaryDirectory

  private static var folder: String { Repository.path("Tests/Fixtures/models") }

  package init(_ name: String) throws {
    let source = "\(Self.folder)/\(name)"
    self.name = name
    temporary = try TemporaryDirectory()
    directory = temporary.path
    let golden = try Self.json("\(source)/golden.json").objectValue
    prompt = Self.tokens(golden?["prompt"])
    greedy = Self.tokens(golden?["greedy"])
    logits = try NumPyArray(contentsOfFile: "\(source)/logits.npy").values
    func valuesIfThere(_ file: String) throws -> [Float]? {
      guard FileManager.default.fileExists(atPath: "\(source)/\(file)") else { return nil }
      return try NumPyArray(contentsOfFile: "\(source)/\(file)").values
    }
    afterNext = try valuesIfThere("after_next.npy")
    float8Logits = try valuesIfThere("float8.npy")
    let configuration = try Data(contentsOf: URL(filePath: "\(source)/config.json"))
    try configuration.write(to: URL(filePath: "\(directory)/config.json"))
    let tensors = try Self.json("\(source)/tensors.json").arrayValue ?? []
    let shards = try Self.json("\(source)/config.json").objectValue?["silica_shards"]?.integerValue
    try Self.write(tensors.compactMap(SyntheticTensor.init), shards: shards ?? 1, to: directory)
  }

  private static func json(_ path: String) throws -> JSON {
    try Data(contentsOf: URL(filePath: path)).withUnsafeBytes { try JSON(parsing: $0) }
  }

  private static func tokens(_ value: JSON?) -> [Int32] {
    (value?.arrayValue ?? []).compactMap { $0.integerValue.map { Int32($0) } }
  }

  private static func write(_ tensors: [SyntheticTensor], shards: Int, to folder: String) throws {
    guard shards > 1 else {
      return try writeFile(tensors, to: "\(folder)/model.safetensors")
    }
    var map: [String: String] = [:]
    for shard in 0..<shards {
      let file = String(format: "model-%05d-of-%05d.safetensors", shard + 1, shards)
      let part = tensors.enumerated().filter { $0.offset % shards == shard }.map(\.element)
      try writeFile(part, to: "\(folder)/\(file)")
      for tensor in part { map[tensor.name] = file }
    }
    let index = try JSONSerialization.data(withJSONObject: ["metadata": [:], "weight_map": map])
    try index.write(to: URL(filePath: "\(folder)/model.safetensors.index.json"))
  }

  private static func writeFile(_ tensors: [SyntheticTensor], to path: String) throws {
    var header: [String: Any] = [:]
    var data = Data()
    for tensor in tensors {
      let start = data.count
      data.append(contentsOf: tensor.bytes)
      header[tensor.name] = [
        "dtype": tensor.type, "shape": tensor.shape, "data_offsets": [start, data.count],
      ]
    }
    var head = try JSONSerialization.data(withJSONObject: header)
    head.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - head.count % 8) % 8))
    var file = Data()
    withUnsafeBytes(of: UInt64(head.count).littleEndian) { file.append(contentsOf: $0) }
    file.append(head)
    file.append(data)
    try file.write(to: URL(filePath: path))
  }
}

/// A tensor whose elements follow from its name.
private struct SyntheticTensor {
  let name: String
  let shape: [Int]
  let type: String

  init?(_ entry: JSON) {
    guard let parts = entry.arrayValue, parts.count == 3, let name = parts[0].stringValue,
      let type = parts[2].stringValue
    else { return nil }
    self.name = name
    self.type = type
    shape = (parts[1].arrayValue ?? []).compactMap(\.integerValue)
  }

  /// What name and type say is asked once, and not for each element.
  var bytes: [UInt8] {
    let (isZeros, range) = (name.contains("zero"), Range(name))
    switch type {
    case "F8_E4M3":
      return bytes { bits in
        let code = UInt8(truncatingIfNeeded: bits >> 32)
        return code & 0x7F == 0x7F ? code - 1 : code
      }
    case "I8": return bytes { UInt8(truncatingIfNeeded: $0 >> 32) }
    case "I32":
      return bytes { bits in
        let word = UInt32(bits >> 32)
        return isZeros ? (word & 0x3333_3333) + 0x6666_6666 : word
      }
    case "BF16": return bytes { Self.bfloat16(range.value($0)) }
    case "F16": return bytes { Float16(range.value($0)).bitPattern }
    default: return bytes { range.value($0).bitPattern }
    }
  }

  private func bytes<T: FixedWidthInteger>(_ element: (UInt64) -> T) -> [UInt8] {
    let seed = Self.fnv1a64(name)
    let elements = (0..<shape.reduce(1, *)).map { element(Self.mixed(seed, $0)).littleEndian }
    return elements.withUnsafeBytes { Array($0) }
  }

  /// Of the elements of a tensor, by its name.
  private enum Range {
    case blockScale, scale, norm, bias, weight

    init(_ name: String) {
      if name.hasSuffix("_scale_inv") {
        self = .blockScale
      } else if name.hasSuffix("scale") || name.hasSuffix("scales") {
        self = .scale
      } else if name.hasSuffix("norm.weight") {
        self = .norm
      } else {
        self = name.hasSuffix("bias") ? .bias : .weight
      }
    }

    func value(_ bits: UInt64) -> Float {
      let u = Double(bits >> 40) / Double(1 << 24)
      let unit = (2 * u - 1) * 3.0.squareRoot()
      return switch self {
      case .blockScale: Float(0.0008 * (1 + u))
      case .scale: Float(0.0012 * (1 + u))
      case .norm: Float(1 + 0.2 * unit)
      case .bias: Float(0.1 * unit)
      case .weight: Float(0.08 * unit)
      }
    }
  }

  /// To nearest, ties to even.
  private static func bfloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }

  private static func fnv1a64(_ text: String) -> UInt64 {
    text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  private static func mixed(_ seed: UInt64, _ index: Int) -> UInt64 {
    var z = seed &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
