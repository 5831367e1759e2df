// SPDX-License-Identifier: Apache-2.0

internal import Support

/// How a program that calibrates weights stored them, as `quantization_config` says. What it says
/// of single modules (targets, exceptions) is not needed: what is stored of each says it too.
package struct CalibratedFormat: Hashable, Sendable {
  package enum Method: Hashable, Sendable {
    case compressedTensors
    /// The first version stores each zero less one, the second as it is.
    case gptq(version: Int)
    case awq
  }

  package let method: Method
  /// Bits of codes that occur.
  let bits: [Int]
  /// Sizes of groups that occur, those of whole rows left out.
  let groups: [Int]
  /// Rows and columns of FP8 blocks that occur.
  var blocks: [[Int]] = []
}

extension CalibratedFormat {
  static func gptq(_ fields: ConfigurationFields) throws(CheckpointError) -> Self {
    let name = try fields.string("checkpoint_format", default: "gptq")
    guard ["gptq", "gptq_v2"].contains(name) else {
      throw fields.invalid(
        "checkpoint_format", expected: "\"gptq\" or \"gptq_v2\"", code: .unimplemented)
    }
    guard try fields.string("pack_dtype", default: "int32") == "int32" else {
      throw fields.invalid("pack_dtype", expected: "\"int32\"", code: .unimplemented)
    }
    return Self(
      method: .gptq(version: name == "gptq" ? 1 : 2),
      bits: [try fields.codeBits("bits", [4, 8])], groups: try fields.groupSize("group_size"))
  }

  static func awq(_ fields: ConfigurationFields) throws(CheckpointError) -> Self {
    let version = try fields.string("version", default: "gemm")
    guard ["gemm", "GEMM"].contains(version) else {
      throw fields.invalid("version", expected: "\"gemm\"", code: .unimplemented)
    }
    guard try fields.bool("zero_point", default: true) else {
      throw fields.invalid("zero_point", expected: "true", code: .unimplemented)
    }
    return Self(
      method: .awq,
      bits: [try fields.codeBits(fields.has("w_bit") ? "w_bit" : "bits", [4])],
      groups: try fields.groupSize(fields.has("q_group_size") ? "q_group_size" : "group_size"))
  }

  static func compressedTensors(_ fields: ConfigurationFields) throws(CheckpointError) -> Self {
    try fields.checkFormat()
    if let transforms = try fields.fields("transform_config")?.fields("config_groups"),
      !transforms.members().isEmpty
    {
      throw fields.invalid("transform_config", expected: "none", code: .unimplemented)
    }
    if let sparsity = try fields.fields("sparsity_config"), sparsity.has("format"),
      try sparsity.string("format") != "dense"
    {
      throw sparsity.invalid("format", expected: "\"dense\"", code: .unimplemented)
    }
    guard let section = try fields.fields("config_groups") else {
      throw fields.invalid("config_groups", expected: "an object")
    }
    var (bits, groups, blocks): (Set<Int>, Set<Int>, Set<[Int]>) = ([], [], [])
    for name in section.members().map(\.key) {
      guard let group = try section.fields(name), let weights = try group.fields("weights") else {
        continue
      }
      if group.has("format") { try group.checkFormat() }
      if try weights.string("type", default: "int") == "float" {
        _ = try weights.codeBits("num_bits", [8])
      } else {
        bits.insert(try weights.codeBits("num_bits", [4, 8]))
      }
      if let block = try weights.block("block_structure") { blocks.insert(block) }
      if weights.has("group_size") { groups.formUnion(try weights.groupSize("group_size")) }
    }
    return Self(
      method: .compressedTensors, bits: bits.sorted(), groups: groups.sorted(),
      blocks: blocks.sorted { $0.lexicographicallyPrecedes($1) })
  }
}

extension ConfigurationFields {
  fileprivate func codeBits(_ key: String, _ known: [Int]) throws(CheckpointError) -> Int {
    let bits = try integer(key, 1...64)
    guard known.contains(bits) else {
      let names = known.map { "\($0)" }.joined(separator: " or ")
      throw invalid(key, expected: names, code: .unimplemented)
    }
    return bits
  }

  /// Two sizes as in [128, 128], or "128x128" as it was written first; nil if absent.
  fileprivate func block(_ key: String) throws(CheckpointError) -> [Int]? {
    guard has(key) else { return nil }
    let text = try? string(key)
    let sizes =
      if let text { text.split(separator: "x").compactMap { Int($0) } } else { try integers(key) }
    guard sizes.count == 2, sizes.allSatisfy({ (1...Self.integerMax).contains($0) }) else {
      throw invalid(key, expected: "two sizes as in [128, 128]", code: .unimplemented)
    }
    return sizes
  }

  /// Empty where a group is a whole row.
  fileprivate func groupSize(_ key: String) throws(CheckpointError) -> [Int] {
    let size = try integer(key, -1...Self.integerMax)
    guard size != 0 else { throw invalid(key, expected: "-1, or an integer of at least 1") }
    return size < 0 ? [] : [size]
  }

  /// Of compressed-tensors: a whole checkpoint's, or one group's.
  fileprivate func checkFormat() throws(CheckpointError) {
    let known = [
      "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision",
    ]
    guard try known.contains(string("format")) else {
      let names = known.map { "\"\($0)\"" }.joined(separator: ", ")
      throw invalid("format", expected: "one of \(names)", code: .unimplemented)
    }
  }
}
