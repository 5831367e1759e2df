// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Device
import Foundation
import Models
import Program
import TestSupport
import Testing

/// What `silica quantize` writes, loaded again.
@Suite struct PackedCheckpointTests {
  /// Tied embeddings, shards of f16, biases, experts, FP8 and calibrated codes among them.
  static let names = [
    "qwen2-tied", "qwen2-deep", "llama-biased", "v2-groups", "v3-fp8", "v3-hub-mtp", "v3-int4",
    "v2-w8a8",
  ]
  static let precisions = [CPUPrecision.w8, .w4]

  /// Packs a checkpoint into a folder of a temporary one.
  private func pack(
    _ source: Checkpoint, _ precision: CPUPrecision, into folder: TemporaryDirectory
  ) throws -> Checkpoint {
    let program = try Model.program(for: source)
    let nextToken = try Model.nextTokenProgram(for: source)
    let tensors = try PanelPacker.tensors(
      of: [program] + (nextToken.map { [$0] } ?? []), from: source,
      bits: PackedFormat.bits(ofPrecision: precision.rawValue))
    let writer = try PackedCheckpointWriter(
      to: folder.path("packed"), of: source, precision: precision.rawValue, parts: tensors)
    let packer = try PanelPacker(
      byteCountMax: tensors.map(\.byteCount).max() ?? 0, threadCount: 2)
    for part in writer.parts {
      let tensor = try source.tensor(part.weight)
      try writer.append(tensor, as: packer.bytes(of: part, from: tensor))
      withExtendedLifetime(tensor) {}
    }
    try writer.finish()
    return try Checkpoint(directory: folder.path("packed"))
  }

  @Test(arguments: names, precisions)
  func `it gives the bits of packing at load`(name: String, precision: CPUPrecision) throws {
    let golden = try SyntheticCheckpoint(name)
    let source = try Checkpoint(directory: golden.directory)
    let folder = try TemporaryDirectory()
    let packed = try pack(source, precision, into: folder)
    #expect(packed.packedFormat?.precision == precision.rawValue)
    if name == "v3-hub-mtp" { #expect(try Model.nextTokenProgram(for: packed) != nil) }
    func logits(_ checkpoint: Checkpoint, _ precision: CPUPrecision) throws -> [Float] {
      let device = try CPUDevice(.init(precision: precision, threadCount: 2))
      var run = try CPUModelRun(try Model.program(for: checkpoint), checkpoint, on: device)
      #expect(device.summary.contains(precision == .auto ? "w" : precision.rawValue))
      return try run.logits(of: golden.prompt, chunk: 16)
    }
    let expected = try logits(source, precision)
    for asked in [precision, .auto] {
      let areEqual = bitsEqual(try logits(packed, asked), expected)
      #expect(areEqual, "\(asked)")
    }
    let traffic = try [source, packed].map {
      try WeightTraffic(try Model.program(for: $0), from: $0, precision: precision)
    }
    #expect(traffic[0] == traffic[1])
    let other = try TemporaryDirectory()
    let bytes = try [packed, try pack(source, precision, into: other)].map {
      try Data(contentsOf: URL(filePath: "\($0.directory)/model.safetensors"))
    }
    #expect(bytes[0] == bytes[1], "the same source gives the same file")
  }

  @Test(arguments: ["qwen2-gptq", "llama-gptq8", "qwen2-awq", "v3-int4", "v2-w8a8"])
  func `calibrated codes are packed as they are`(name: String) throws {
    let golden = try SyntheticCheckpoint(name)
    let source = try Checkpoint(directory: golden.directory)
    let folder = try TemporaryDirectory()
    let packed = try pack(source, .auto, into: folder)
    func logits(_ checkpoint: Checkpoint, on device: some Device) throws -> [Float] {
      var run = try CPUModelRun(try Model.program(for: checkpoint), checkpoint, on: device)
      return try run.logits(of: golden.prompt, chunk: 16)
    }
    let devices = try (0..<2).map { _ in try CPUDevice(.init(threadCount: 2)) }
    let expected = try logits(source, on: devices[0])
    let areEqual = bitsEqual(try logits(packed, on: devices[1]), expected)
    #expect(areEqual && devices[0].summary == devices[1].summary)
    let gpus = try [source, packed].map { try logits($0, on: EmulatedGPU.device()) }
    let areEqualOnGPU = bitsEqual(gpus[0], gpus[1])
    #expect(areEqualOnGPU)
    // The reference reads the panels' values, which are those that transformers was given, but for
    // the matrices of single heads.
    let reference = try logits(packed, on: ReferenceDevice())
    #expect(largestDifference(reference, golden.logits) <= (name.hasPrefix("v") ? 0.05 : 2e-4))
    let traffic = try [source, packed].map {
      try WeightTraffic(try Model.program(for: $0), from: $0, precision: .auto)
    }
    #expect(traffic[0] == traffic[1])
    let error = #expect(throws: DeviceError.self) {
      _ = try logits(packed, on: CPUDevice(.init(precision: .w4, threadCount: 1)))
    }
    let codes = name == "llama-gptq8" || name == "v2-w8a8" ? "int8" : "int4"
    #expect(
      error?.message
        == "the checkpoint is packed as \(codes); expected precision auto, not w4")
  }

  @Test(arguments: precisions)
  func `its panels stand for what their codes are defined as`(precision: CPUPrecision) throws {
    let codes = precision == .w8 ? CPUCodes.w8 : .w4
    for shape in CPUCodesTests.shapes {
      let weight = Weight("matrix", [shape.columns, shape.inner])
      let layout = PanelLayout(
        bits: precision == .w8 ? 8 : 4, rows: weight.rows, columns: weight.columns)
      let stored = try RandomWeights().tensor(weight)
      let packer = try PanelPacker(byteCountMax: layout.byteCount, threadCount: 1)
      let bytes = packer.bytes(of: PackedTensor(weight, .panels(layout)), from: stored)
      let panels = StoredTensor(weight: weight, panels: layout, bytes: bytes, owner: stored.owner)
      let rows = stored.dequantized()
      let expected = (0..<weight.rows).flatMap { row in
        codes.rounded(Array(rows[row * weight.columns..<(row + 1) * weight.columns]))
      }
      #expect(panels.dequantized() == expected, "\(shape)")
      // A part of the rows, across a panel's border.
      let part = min(weight.rows - 1, 15)..<weight.rows
      let some = [Float](unsafeUninitializedCapacity: part.count * weight.columns) {
        if let start = $0.baseAddress { panels.dequantize(rows: part, into: start) }
        $1 = part.count * weight.columns
      }
      #expect(some == Array(expected.suffix(some.count)), "\(shape)")
      withExtendedLifetime(packer) {}
    }
  }

  @Test func `the reference device computes with the packed values`() throws {
    let golden = try SyntheticCheckpoint("qwen2")
    let folder = try TemporaryDirectory()
    let packed = try pack(Checkpoint(directory: golden.directory), .w8, into: folder)
    let program = try Model.program(for: packed)
    var run = try CPUModelRun(program, packed, on: ReferenceDevice())
    let logits = try run.logits(of: golden.prompt, chunk: 64)
    let difference = largestDifference(logits, golden.logits)
    #expect(difference > 1e-3 && difference < 0.2, "\(difference)")
  }

  @Test func `another precision than the packed one is refused`() throws {
    let golden = try SyntheticCheckpoint("qwen2")
    let folder = try TemporaryDirectory()
    let packed = try pack(Checkpoint(directory: golden.directory), .w4, into: folder)
    let program = try Model.program(for: packed)
    for precision in [CPUPrecision.w8, .f32, .bf16] {
      let error = #expect(throws: DeviceError.self) {
        _ = try CPUModelRun(
          program, packed, on: CPUDevice(.init(precision: precision, threadCount: 1)))
      }
      #expect(
        error?.message
          == "the checkpoint is packed as w4; expected precision auto or w4, not "
          + precision.rawValue)
    }
  }

  @Test func `a weight that is packed where its elements are needed is refused`() throws {
    var builder = ProgramBuilder()
    let table = Weight("table", [32, 32])
    let input = builder.embed(table)
    var result = input
    builder.layer { result = $0.linear(input, Weight("matrix", [32, 32])) }
    let outputs = builder.selectOutputs(result)
    let program = builder.finish(
      name: "linear", vocabularySize: 32, contextLength: 128, logits: outputs)
    let error = #expect(throws: DeviceError.self) {
      _ = try CPUModelRun(program, PanelsOnly(), on: CPUDevice(.init(threadCount: 1)))
    }
    #expect(error?.message == "tensor table is packed, expected its elements")
  }

  /// Everything in panels of zeros.
  private struct PanelsOnly: WeightSource {
    private final class Memory: @unchecked Sendable {  // never written after init
      let bytes: UnsafeMutableRawBufferPointer
      init(_ count: Int) {
        bytes = .allocate(byteCount: count, alignment: 64)
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
      }
      deinit { bytes.deallocate() }
    }

    func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
      let layout = PanelLayout(bits: 8, rows: weight.rows, columns: weight.columns)
      let memory = Memory(layout.byteCount)
      return StoredTensor(
        weight: weight, panels: layout, bytes: UnsafeRawBufferPointer(memory.bytes), owner: memory)
    }
  }
}
