// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Conformance
import Models
import Synthetic

/// The options of every subcommand that runs a model.
struct ModelOptions {
  var directory: String
  /// The model in place of a checkpoint's; nil if `directory` has one.
  var synthetic: SyntheticConfiguration?
  /// The shape of a model with random weights in place of a checkpoint; nil if there is one.
  var shape: ModelShape?
  var device: DeviceKind
  /// Of a CPU device.
  var cpuPrecision: CPUPrecision
  var cpuCachePrecision: CPUCachePrecision
  /// Of a CUDA device.
  var cudaPrecision: CUDAPrecision
  var cudaCachePrecision: CUDACachePrecision
  /// nil: prompts are attended to as all else.
  var expansion: CUDAExpansion?
  var stages: Int
  var contextSlices: Int
  var threads: Int?
  var batchMax: Int
  var waitingMax: Int?
  var prefillChunk: Int?
  var contextLength: Int?
  var kvMemoryBytes: Int?
  /// Of the host, for weights that GPUs have no memory for.
  var gpuOverflowBytes: Int?
  /// Where processes share the weights on their GPUs.
  var shareWeightsPath: String?

  static let options = [
    Option(
      "--model", "DIR",
      "Hugging Face checkpoint: config.json, tokenizer.json, *.safetensors; or 'synthetic'"),
    Option(
      "--device", "NAME", "auto (cpu), cpu, cuda (all GPUs), cuda:N or reference", default: "auto"),
    Option(
      "--precision", "NAME",
      "auto, f32 (not cuda), bf16, fp8 (cpu: slow), w8, w4; cuda only: w8a8, sparse, fp8a8",
      default: "auto: as stored"),
    Option("--stages", "N", "run ranges of layers on N executors", default: "1"),
    Option("--context-slices", "N", "split every sequence's keys over N executors", default: "1"),
    Option("--threads", "N", "compute threads of each device", default: "its share of the cores"),
    Option("--max-batch", "N", "sequences that run at once", default: "32"),
    Option("--max-waiting", "N", "sequences that wait for their first step", default: "256"),
    Option("--prefill-chunk", "N", "tokens of a step", default: "256"),
    Option("--context-length", "N", "tokens of a sequence", default: "the model's"),
    Option(
      "--kv-precision", "NAME", "of keys and values: auto, f32 (cpu), bf16 or fp8 (cuda)",
      default: "auto: bf16, on CPUs f32 with --precision f32 or fp8"),
    Option(
      "--mla-prefill", "NAME",
      "latent attention of prompts: absorbed, or expanded (cuda: fewer operations, other rounding)",
      default: "absorbed"),
    Option("--kv-memory", "SIZE", "memory for keys and values, as 512M", default: "half of free"),
    Option(
      "--gpu-overflow", "SIZE",
      "memory of the host for weights that do not fit the GPUs; slow", default: "none"),
    Option(
      "--share-weights", "PATH",
      "share the weights on GPUs with other processes that give this path"),
  ]

  init(_ arguments: Arguments, batchMax: Int = 32) throws(UsageError) {
    directory = try arguments.required("--model")
    synthetic = try SyntheticOptions.read(arguments)
    shape = try Self.shape(directory)
    device = try Self.device(arguments.string("--device") ?? "auto")
    (cpuPrecision, cudaPrecision) = try Self.precision(arguments, device)
    (cpuCachePrecision, cudaCachePrecision) = try Self.cachePrecision(arguments, device)
    stages = try arguments.integer("--stages", in: 1...1_024) ?? 1
    contextSlices = try arguments.integer("--context-slices", in: 1...64) ?? 1
    expansion = try Self.expansion(arguments)
    threads = try arguments.integer("--threads", in: 1...4_096)
    self.batchMax = try arguments.integer("--max-batch", in: 1...4_096) ?? batchMax
    waitingMax = try arguments.integer("--max-waiting", in: 1...65_536)
    prefillChunk = try arguments.integer("--prefill-chunk", in: 1...65_536)
    contextLength = try arguments.integer("--context-length", in: 2...Int.max)
    kvMemoryBytes = try arguments.bytes("--kv-memory")
    gpuOverflowBytes = try arguments.bytes("--gpu-overflow")
    shareWeightsPath = arguments.string("--share-weights")
    try checkGPUOptions()
  }

  private static func shape(_ model: String) throws(UsageError) -> ModelShape? {
    guard model.hasPrefix(ModelShape.prefix) else { return nil }
    do {
      return try ModelShape(String(model.dropFirst(ModelShape.prefix.count)))
    } catch {
      throw UsageError("--model: \(error.message)")
    }
  }

  private static func device(_ name: String) throws(UsageError) -> DeviceKind {
    guard let device = DeviceKind(name) else {
      throw UsageError(
        "--device is '\(name)'; expected auto, cpu, cuda, cuda:N (N from 0) or reference")
    }
    return device
  }

  /// What the device can have: the other kind's is `auto`.
  private static func precision(
    _ arguments: Arguments, _ device: DeviceKind
  ) throws(UsageError) -> (CPUPrecision, CUDAPrecision) {
    let ofGPUs = [CUDAPrecision.w8a8, .sparse, .fp8a8].map(\.rawValue)
    let all = CPUPrecision.allCases.map(\.rawValue) + ofGPUs
    let word = try arguments.choice("--precision", of: all) ?? "auto"
    switch device {
    case .cuda:
      guard let precision = CUDAPrecision(rawValue: word) else {
        throw UsageError(
          "--precision is '\(word)'; a CUDA device runs auto, bf16, fp8, w8, w4, w8a8, "
            + "sparse, fp8a8")
      }
      return (.auto, precision)
    case .cpu:
      guard let precision = CPUPrecision(rawValue: word) else {
        throw UsageError(
          "--precision is '\(word)', which is for CUDA devices; on a CPU w8 multiplies with 8-bit "
            + "activations already, and fp8 with FP8 ones")
      }
      return (precision, .auto)
    case .reference:
      guard word == "auto" || word == "f32" else {
        throw UsageError("--precision is '\(word)'; the reference device runs f32")
      }
      return (.auto, .auto)
    }
  }

  /// What `--mla-prefill` says.
  static func expansion(_ arguments: Arguments) throws(UsageError) -> CUDAExpansion? {
    let word = try arguments.choice("--mla-prefill", of: ["absorbed", "expanded"])
    return word == "expanded" ? CUDAExpansion() : nil
  }

  private func checkGPUOptions() throws(UsageError) {
    if case .cuda = device {
      guard expansion == nil || contextSlices == 1 else {
        throw UsageError(
          "--mla-prefill expanded does not go with --context-slices, which merge what was attended "
            + "to; expected --mla-prefill absorbed")
      }
      guard gpuOverflowBytes == nil || shareWeightsPath == nil else {
        throw UsageError("--gpu-overflow and --share-weights do not go together")
      }
      return
    }
    guard expansion == nil else {
      throw UsageError("--mla-prefill expanded is for --device cuda; all other devices absorb")
    }
    let given = gpuOverflowBytes != nil ? "--gpu-overflow" : "--share-weights"
    guard gpuOverflowBytes == nil, shareWeightsPath == nil else {
      throw UsageError("\(given) is for --device cuda; this device's memory is the host's")
    }
  }

  /// What the device can have: the other kind's is `auto`.
  private static func cachePrecision(
    _ arguments: Arguments, _ device: DeviceKind
  ) throws(UsageError) -> (CPUCachePrecision, CUDACachePrecision) {
    switch device {
    case .cuda: return (.auto, try cudaCachePrecision(arguments))
    case .cpu:
      let kept = "CPUs keep keys and values in f32 or bf16"
      return (try cachePrecision(arguments, or: .auto, kept), .auto)
    case .reference:
      let kept = "the reference device keeps keys and values in f32"
      let precision = try cachePrecision(arguments, or: CPUCachePrecision.auto, kept)
      guard precision != .bf16 else { throw UsageError("--kv-precision is 'bf16'; \(kept)") }
      return (.auto, .auto)
    }
  }

  /// What `--kv-precision` says of a GPU.
  static func cudaCachePrecision(_ arguments: Arguments) throws(UsageError) -> CUDACachePrecision {
    try cachePrecision(arguments, or: .auto, "GPUs keep keys and values in bf16 or fp8")
  }

  /// `kept` says what this kind of device has.
  private static func cachePrecision<Precision: RawRepresentable<String>>(
    _ arguments: Arguments, or standard: Precision, _ kept: String
  ) throws(UsageError) -> Precision {
    let word = try arguments.choice("--kv-precision", of: ["auto", "f32", "bf16", "fp8"])
    guard let word else { return standard }
    guard let precision = Precision(rawValue: word) else {
      throw UsageError("--kv-precision is '\(word)'; \(kept)")
    }
    return precision
  }

  /// What the devices of a CPU are made of, but for where they run.
  var cpuConfiguration: CPUDeviceConfiguration {
    CPUDeviceConfiguration(precision: cpuPrecision, cachePrecision: cpuCachePrecision)
  }
}
