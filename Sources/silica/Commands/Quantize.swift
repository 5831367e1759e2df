// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Checkpoint
import Executor
import Models
import Program
import Support

/// `silica quantize`.
enum Quantize: Subcommand {
  static let name = "quantize"
  static let summary = "write a packed checkpoint, which loads without conversion"

  static let options = [
    Option("--model", "DIR", "Hugging Face checkpoint: config.json and *.safetensors"),
    Option("--precision", "NAME", "w8, w4, or auto: calibrated codes as stored"),
    Option("--out", "DIR", "the folder to make; one that exists is not written over"),
    Option("--threads", "N", "threads that pack", default: "the cores"),
  ]

  static let discussion = """
    The folder holds config.json and the tokenizer's files, and the weights as --precision makes
    them at load, in the order in which the CPU device reads them: every command that takes
    --model loads it in a fraction of the time, and computes the same bits. It also needs less
    disk. The layer for multi-token prediction comes along where the checkpoint has it.
    For a checkpoint of GPTQ, AWQ or compressed-tensors, auto packs its integer codes as they are,
    and nothing else; w8 and w4 quantise its weights a second time.

    example:
      silica quantize --model DIR --precision w8 --out DIR-w8
      silica serve --model DIR-w8
    """

  static func run(_ arguments: Arguments) throws {
    let directory = try arguments.required("--model")
    let out = try arguments.required("--out")
    let precision = try arguments.required("--precision")
    guard PackedFormat.precisions.contains(precision) else {
      throw UsageError("--precision is '\(precision)'; expected w8, w4 or auto")
    }
    let threads = try arguments.integer("--threads", in: 1...4_096)
    let checkpoint = try Checkpoint(directory: directory)
    if let format = checkpoint.packedFormat {
      throw CommandError("\(directory) is packed already, as \(format.precision)")
    }
    if precision == "auto", !checkpoint.isCalibrated {
      throw CommandError(
        "\(directory) has no codes of GPTQ, AWQ or compressed-tensors: --precision auto would "
          + "change nothing; expected w8 or w4")
    }
    let program = try Model.program(for: checkpoint)
    let start = Clock.nowNanoseconds
    let programs = [program] + [try Model.nextTokenProgram(for: checkpoint)].compactMap(\.self)
    let tensors = try PanelPacker.tensors(
      of: programs, from: checkpoint, bits: PackedFormat.bits(ofPrecision: precision))
    let writer = try PackedCheckpointWriter(
      to: out, of: checkpoint, precision: precision, parts: tensors)
    let packer = try PanelPacker(
      byteCountMax: tensors.map(\.byteCount).max() ?? 0, threadCount: threads)
    try pack(writer, packer, checkpoint)
    try writer.finish()
    let seconds = Double(Clock.nowNanoseconds - start) / 1e9
    let bytes = tensors.reduce(0) { $0 + $1.byteCount }
    Console.out(
      "silica: packed \(program.name) as \(precision) into \(out): \(ByteCount.text(bytes)) in "
        + "\((seconds * 10).rounded() / 10) s\n")
  }

  private static func pack(
    _ writer: PackedCheckpointWriter, _ packer: PanelPacker, _ checkpoint: Checkpoint
  ) throws {
    let line = LoadProgressLine(saying: "packing weights")
    defer { line.finish() }
    let total = writer.parts.reduce(0) { $0 + $1.byteCount }
    var done = 0
    for part in writer.parts {
      let tensor = try checkpoint.tensor(part.weight)
      try writer.append(tensor, as: packer.bytes(of: part, from: tensor))
      withExtendedLifetime(tensor) {}
      done += part.byteCount
      line.update(LoadProgress(seat: 0, loadedBytes: done, totalBytes: total))
    }
  }
}
