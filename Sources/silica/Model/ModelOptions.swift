// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import Synthetic

/// The options of every subcommand that runs a model.
struct ModelOptions {
  /// Where operations run.
  enum DeviceKind: String {
    case reference, cpu
  }

  var directory: String
  /// The model in place of a checkpoint's; nil if `directory` has one.
  var synthetic: SyntheticConfiguration?
  var device: DeviceKind
  var cpuPrecision: CPUPrecision
  var stages: Int
  var contextSlices: Int
  var threads: Int?
  var batchMax: Int
  var waitingMax: Int?
  var prefillChunk: Int?
  var contextLength: Int?
  var kvMemoryBytes: Int?

  static let options = [
    Option(
      "--model", "DIR",
      "Hugging Face checkpoint: config.json, tokenizer.json, *.safetensors; or 'synthetic'"),
    Option("--device", "NAME", "auto, cpu or reference", default: "auto"),
    Option("--precision", "NAME", "auto, f32, bf16, w8 or w4", default: "auto: as stored"),
    Option("--stages", "N", "run ranges of layers on N executors", default: "1"),
    Option("--context-slices", "N", "split every sequence's keys over N executors", default: "1"),
    Option("--threads", "N", "compute threads of each device", default: "its share of the cores"),
    Option("--max-batch", "N", "sequences that run at once", default: "32"),
    Option("--max-waiting", "N", "sequences that wait for their first step", default: "256"),
    Option("--prefill-chunk", "N", "tokens of a step", default: "256"),
    Option("--context-length", "N", "tokens of a sequence", default: "the model's"),
    Option("--kv-memory", "SIZE", "memory for keys and values, as 512M", default: "half of free"),
  ]

  init(_ arguments: Arguments, batchMax: Int = 32) throws(UsageError) {
    directory = try arguments.required("--model")
    synthetic = try SyntheticOptions.read(arguments)
    device = try Self.device(arguments.string("--device") ?? "auto")
    cpuPrecision = try Self.precision(arguments)
    if device == .reference, ![.auto, .f32].contains(cpuPrecision) {
      throw UsageError(
        "--precision is '\(cpuPrecision.rawValue)'; the reference device runs f32")
    }
    stages = try arguments.integer("--stages", in: 1...1_024) ?? 1
    contextSlices = try arguments.integer("--context-slices", in: 1...64) ?? 1
    threads = try arguments.integer("--threads", in: 1...4_096)
    self.batchMax = try arguments.integer("--max-batch", in: 1...4_096) ?? batchMax
    waitingMax = try arguments.integer("--max-waiting", in: 1...65_536)
    prefillChunk = try arguments.integer("--prefill-chunk", in: 1...65_536)
    contextLength = try arguments.integer("--context-length", in: 2...Int.max)
    kvMemoryBytes = try arguments.bytes("--kv-memory")
  }

  private static func device(_ name: String) throws(UsageError) -> DeviceKind {
    if name == "auto" { return .cpu }
    if name.hasPrefix("cuda") {
      throw UsageError("--device is '\(name)'; this build has no CUDA device: use cpu or reference")
    }
    guard let kind = DeviceKind(rawValue: name) else {
      throw UsageError("--device is '\(name)'; expected auto, cpu or reference")
    }
    return kind
  }

  private static func precision(_ arguments: Arguments) throws(UsageError) -> CPUPrecision {
    let precision = arguments.string("--precision") ?? "auto"
    if precision == "fp8" {
      throw UsageError(
        "--precision is 'fp8'; this build runs auto, f32, bf16, w8 and w4 (FP8 checkpoints load in "
          + "each)")
    }
    let word = try arguments.choice("--precision", of: CPUPrecision.allCases.map(\.rawValue))
    return word.flatMap(CPUPrecision.init) ?? .auto
  }
}
