// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Foundation
import Program
import TestSupport
import Testing

/// Weights in the formats of programs that calibrate them, against what these make of them.
@Suite struct CalibratedTests {
  private static let shapes: KeyValuePairs = [
    "pack-quantized": [
      "sym4": [24, 96], "asym4": [19, 192], "rows4": [17, 70], "asymrows4": [9, 37],
      "sym8": [5, 256], "asym8": [6, 64],
    ],
    "int-quantized": ["rows8": [20, 50], "asymrows8": [7, 33], "tensor8": [6, 40]],
    "float-quantized": ["floatrows": [12, 40], "floattensor": [8, 24], "floatblocks": [40, 72]],
    "gptq-4": ["even": [24, 96], "ragged": [40, 72]],
    "gptq-8": ["even": [12, 128], "ragged": [8, 100]],
    "gptq-rows": ["rows": [16, 80]],
    "gptq-order": ["shuffled": [8, 96]],
    "awq": ["even": [24, 96], "ragged": [16, 70]],
  ]

  private static func folder(_ name: String) -> String {
    Repository.path("Tests/CheckpointTests/Goldens/calibrated/\(name)")
  }

  @Test func `weights have the values that others give them`() throws {
    for (name, modules) in Self.shapes {
      let checkpoint = try Checkpoint(directory: Self.folder(name))
      for (module, shape) in modules {
        #expect(checkpoint.contains("\(module).weight"))
        let stored = try checkpoint.tensor(Weight("\(module).weight", shape))
        #expect(stored.type == (name == "float-quantized" ? .float8e4m3 : .codes))
        #expect((stored.codes?.columnGroups != nil) == (module == "shuffled"))
        let expected = try checkpoint.tensor(Weight("\(module).expected", shape)).dequantized()
        #expect(stored.dequantized() == expected, "\(name): \(module)")
        let part = 3..<shape[0] - 1
        let some = [Float](unsafeUninitializedCapacity: part.count * shape[1]) { buffer, count in
          if let start = buffer.baseAddress { stored.dequantize(rows: part, into: start) }
          count = part.count * shape[1]
        }
        #expect(some == Array(expected[3 * shape[1]..<(shape[0] - 1) * shape[1]]), "\(module)")
      }
    }
  }

  @Test func `another shape than the model's is refused`() throws {
    for (name, modules) in Self.shapes {
      let checkpoint = try Checkpoint(directory: Self.folder(name))
      for (module, shape) in modules {
        for wrong in [[shape[0] + 8, shape[1]], [shape[0], shape[1] + 32]] {
          let error = #expect(throws: WeightError.self) {
            _ = try checkpoint.tensor(Weight("\(module).weight", wrong))
          }
          let message = error?.message ?? ""
          #expect(
            message.contains("tensor \(module).") && message.contains("expected"), "\(message)")
        }
      }
    }
  }

  /// A module of 8 rows and 32 columns, in GPTQ's format but for one tensor.
  @Test(arguments: [
    ("qweight", "I32", [4, 9], "qweight has shape [4, 9], expected [4, 8]"),
    ("qweight", "F32", [4, 8], "qweight has dtype F32, expected I32"),
    ("qzeros", "I32", [3, 1], "qzeros has shape [3, 1], expected [2, 1]"),
    ("scales", "F16", [2, 9], "scales has shape [2, 9], expected [2, 8]"),
    ("scales", "F16", [3, 8], "scales has scales for 3 groups of 32 columns, which are no groups"),
    ("scales", "I32", [2, 8], "scales has dtype I32, expected F16, BF16, F32"),
    ("g_idx", "I32", [31], "g_idx has shape [31], expected [32]"),
    ("g_idx", "I32", [32], "for column 0, expected 0 to 1"),
    ("", "", [], "tensor x.qzeros is missing"),
  ])
  func `parts that do not fit are refused`(
    _ spoiled: String, _ type: String, _ shape: [Int], _ reason: String
  ) throws {
    var parts: [(String, String, [Int])] = [
      ("qweight", "I32", [4, 8]), ("qzeros", "I32", [2, 1]), ("scales", "F16", [2, 8]),
    ]
    if spoiled.isEmpty { parts.remove(at: 1) }
    parts.removeAll { $0.0 == spoiled }
    if !spoiled.isEmpty { parts.append((spoiled, type, shape)) }
    let folder = try CheckpointFolder(
      config: CheckpointFolder.config.dropLast() + """
        ,"quantization_config":{"quant_method":"gptq","bits":4,"group_size":16}}
        """)
    var (offset, members): (Int, [String]) = (0, [])
    for (name, type, shape) in parts {
      let end = offset + shape.reduce(type == "F16" ? 2 : 4, *)
      members.append(
        """
        "x.\(name)":{"dtype":"\(type)","shape":\(shape),"data_offsets":[\(offset),\(end)]}
        """)
      offset = end
    }
    try folder.write(
      "model.safetensors",
      CheckpointFolder.safetensors("{\(members.joined(separator: ","))}", dataByteCount: offset))
    let checkpoint = try folder.open()
    let error = #expect(throws: WeightError.self) {
      _ = try checkpoint.tensor(Weight("x.weight", [8, 32]))
    }
    #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    withExtendedLifetime(folder) {}
  }

  @Test(arguments: ["pack-quantized", "int-quantized", "float-quantized", "gptq-4", "awq"])
  func `changed files open or are refused, and never read outside`(name: String) throws {
    let source = Self.folder(name)
    let original = try Array(Data(contentsOf: URL(filePath: "\(source)/model.safetensors")))
    let config = try String(contentsOfFile: "\(source)/config.json", encoding: .utf8)
    let folder = try CheckpointFolder(config: config)
    let headerCount = 8 + (0..<8).reduce(0) { $0 | Int(original[$1]) << (8 * $1) }
    var generator = SeededGenerator(seed: 12)
    var readCount = 0
    for _ in 0..<1000 {
      try folder.write(
        "model.safetensors", Mutation.mutated(original, upTo: headerCount, using: &generator))
      guard let checkpoint = try? folder.open() else { continue }
      for (module, shape) in Self.shapes.first(where: { $0.key == name })?.value ?? [:] {
        for asked in [shape, shape.reversed()] {
          guard let stored = try? checkpoint.tensor(Weight("\(module).weight", asked)) else {
            continue
          }
          #expect(stored.dequantized().count == stored.weight.elementCount)
          readCount += 1
        }
      }
    }
    #expect(readCount > 20, "only \(readCount) read: the mutations are too coarse")
    withExtendedLifetime(folder) {}
  }

  @Test(arguments: [
    (#""quant_method": "gptq", "bits": 3, "group_size": 128"#, "bits holds 3, expected 4 or 8"),
    (#""quant_method": "gptq", "bits": 4"#, "group_size is missing"),
    (#""quant_method": "gptq", "bits": 4, "group_size": 0"#, "group_size holds 0, expected -1"),
    (
      #""quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin""#,
      "checkpoint_format holds \"marlin\", expected \"gptq\" or \"gptq_v2\""
    ),
    (#""quant_method": "awq", "bits": 8, "group_size": 128"#, "bits holds 8, expected 4"),
    (
      #""quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv""#,
      "version holds \"gemv\", expected \"gemm\""
    ),
    (
      #""quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": false"#,
      "zero_point holds false, expected true"
    ),
    (
      #""quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {}"#,
      "format holds \"marlin-24\", expected one of \"pack-quantized\""
    ),
    (#""quant_method": "compressed-tensors", "format": "int-quantized""#, "config_groups is miss"),
    (
      #"""
      "quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"weights": {"num_bits": 2, "type": "int"}}}
      """#, "config_groups.group_0.weights.num_bits holds 2, expected 4 or 8"
    ),
    (
      #"""
      "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups":
      {"g": {"weights": {"num_bits": 8, "type": "float", "block_structure": "128x"}}}
      """#, "config_groups.g.weights.block_structure holds \"128x\", expected two sizes"
    ),
    (
      #"""
      "quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {},
      "sparsity_config": {"format": "sparse-24-bitmask"}
      """#, "sparsity_config.format holds \"sparse-24-bitmask\", expected \"dense\""
    ),
    (
      #"""
      "quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {},
      "transform_config": {"config_groups": {"R1": {}}}
      """#, "transform_config holds"
    ),
  ])
  func `what is not read is refused by name`(_ members: String, _ reason: String) throws {
    let folder = try CheckpointFolder(
      config: CheckpointFolder.config.dropLast() + ",\"quantization_config\":{\(members)}}")
    let error = #expect(throws: CheckpointError.self) { try folder.configuration() }
    let message = error?.message ?? ""
    #expect(
      message.contains("quantization_config.\(reason)") && message.contains("config.json"),
      "\(message)")
  }
}
