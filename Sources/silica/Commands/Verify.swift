// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Conformance
import Device
import Glibc
import Program
import Step
import Support

/// `silica verify`.
enum Verify: Subcommand {
  static let name = "verify"
  static let summary = "compare a device with the reference, operation by operation"

  static let options = [
    Option("--device", "NAME", "cpu or cuda:N", default: "cpu"),
    Option("--precision", "LIST", "precisions divided by commas", default: "each that it has"),
    Option(
      "--kv-precision", "LIST", "of a GPU's keys and values: bf16, fp8",
      default: "bf16, and fp8 with the first precision"),
    Option(
      "--shapes", "LIST", "shapes of models divided by commas", default: "small cuts of each model"
    ),
    Option("--rows", "N", "tokens of each run", default: "21"),
    Option("--seed", "N", "for weights and tokens", default: "by the clock"),
    Option(
      "--checks", "LIST", "of operations, chunks, steps, slices, expanded and draws",
      default: "all"),
    Option("--format", "NAME", "table (a line for each check) or json", default: "table"),
  ]

  static let discussion = """
    Weights are random, in the shapes of published models with some layers and 512 tokens of
    vocabulary. Each operation gets the reference's inputs; its output is filled with NaN before.
    The error is the root mean square of the differences over that of the reference's values. Where
    keys and values are kept in FP8, the reference gets them rounded. Then the same tokens run in
    other chunks, and on a GPU as kernels, as graphs and as one launch a step, which must change no
    bit; and in bf16 with the keys in 3 slices on devices of the same GPU, which must give the same
    bits with the host between them and without; and where a model has latent attention, in bf16 in
    its expanded form (--mla-prefill). In the end the device draws tokens from random logits, by all
    parameters and with what log-probabilities are made of, which must be what the host does (a CPU
    draws the largest alone). What fails stops nothing else, but a GPU that has failed fails all
    that comes after: run anew for the rest. What is under way is on standard error. Exits with 1 if
    anything is wrong.

    example:
      silica verify --device cuda:0 --shapes tiny-v3,v2-lite/2
    """

  /// Those that a person's patience and the reference, which has one thread, allow.
  private static let shapes = "tiny-qwen,tiny-v3,qwen-7b/1,v2-lite/2"

  static func run(_ arguments: Arguments) throws {
    let format = try arguments.choice("--format", of: ["table", "json"]) ?? "table"
    let clock = Int(Clock.nowNanoseconds % 1_000_000)
    let seed = try arguments.integer("--seed", in: 0...Int(Int32.max)) ?? clock
    let rows = try arguments.integer("--rows", in: 2...512) ?? 21
    let kind = try VerifiedDevice(arguments.string("--device") ?? "cpu")
    let precisions = try kind.precisions(arguments)
    let shapes = arguments.string("--shapes") ?? Self.shapes
    let wanted = try VerifiedCheck.list(arguments)
    if format == "table" { Console.out("seed \(seed), \(rows) tokens\n") }
    let report = VerifyReport(isJSON: format == "json")
    for shape in shapes.split(separator: ",").map(String.init) {
      for precision in precisions {
        let model = try VerifiedModel(shape, precision: precision, seed: UInt64(seed), rows: rows)
        try model.check(wanted, on: kind, report)
      }
    }
    if wanted.contains(.draws) { try draw(on: kind, seed: UInt64(seed), report) }
    guard report.failures == 0 else {
      throw CommandError("\(report.failures) checks failed; seed \(seed)")
    }
    if format == "table" { Console.out("all is as the reference has it\n") }
  }

  /// Columns of logits, and rows that a token is drawn from in each of some rounds.
  private static let draws = [(width: 1_000, rows: 40, rounds: 5), (152_064, 20, 1)]

  /// Tokens drawn from random logits, by all parameters.
  private static func draw(
    on kind: VerifiedDevice, seed: UInt64, _ report: VerifyReport
  ) throws {
    for (width, rows, rounds) in draws {
      let subject = "\(rows * rounds) tokens drawn from \(width) as the host draws them"
      try report.attempt("logits", "f32", subject) {
        let made = try kind.make(VerifiedPrecision("bf16"))
        guard let device = made as? any TokenDrawer else { return [] }
        let comparison = try DrawComparison(device, width: width, rowCountMax: rows)
        let differences = try (0..<rounds).reduce(0) {
          try $0 + comparison.differences(seed: seed &+ UInt64($1), count: rows)
        }
        return [.bits(subject, areSame: differences == 0)]
      }
    }
  }
}

/// The device that is looked at.
struct VerifiedDevice {
  /// nil: the CPU.
  let gpu: Int?

  init(_ name: String) throws {
    switch DeviceKind(name) {
    case .cpu: gpu = nil
    case .cuda(let number): gpu = number ?? 0
    case .reference, nil: throw UsageError("--device is '\(name)'; expected cpu, cuda or cuda:N")
    }
  }

  var isCPU: Bool { gpu == nil }

  /// What is asked for, or what the device has: codes that it multiplies as they are stored too,
  /// and with the first precision keys and values in FP8.
  func precisions(_ arguments: Arguments) throws -> [VerifiedPrecision] {
    let keys = try keyPrecisions(arguments)
    let words =
      try arguments.string("--precision")?.split(separator: ",").map(String.init) ?? allPrecisions()
    guard let keys else {
      let first = isCPU ? [] : words.prefix(1).map { VerifiedPrecision($0, keys: .fp8) }
      return words.map { VerifiedPrecision($0) } + first
    }
    return keys.flatMap { keys in words.map { VerifiedPrecision($0, keys: keys) } }
  }

  private func keyPrecisions(_ arguments: Arguments) throws -> [CUDACachePrecision]? {
    guard let list = arguments.string("--kv-precision") else { return nil }
    guard !isCPU else { throw UsageError("--kv-precision goes with --device cuda:N") }
    return try list.split(separator: ",").map { word in
      guard let keys = CUDACachePrecision(rawValue: String(word)) else {
        throw UsageError("--kv-precision holds '\(word)'; expected bf16 and fp8")
      }
      return keys
    }
  }

  private func allPrecisions() throws -> [String] {
    let codes = ShapeWeights.Storage.calibrated.map(\.name)
    guard let gpu else { return ["f32", "bf16", "w8", "w4"] + codes }
    let device = try CUDADevice(CUDADeviceConfiguration(gpu: gpu))
    return device.precisions.filter { $0 != .auto }.map(\.rawValue) + codes
  }

  /// - Parameter keepsFloats: whether all values can be read and written.
  func make(_ verified: VerifiedPrecision, keepsFloats: Bool = false) throws -> any Device {
    let precision = verified.weights
    if let gpu {
      return try CUDADevice(verified.configuration(gpu: gpu, keepsFloats: keepsFloats))
    }
    let isStored = verified.isStored
    guard let precision = isStored ? .auto : CPUPrecision(rawValue: precision) else {
      throw UsageError(
        "--precision holds '\(precision)'; a CPU has auto, f32, bf16, fp8, w8 and w4, "
          + VerifiedPrecision.codes)
    }
    return try CPUDevice(CPUDeviceConfiguration(precision: precision))
  }
}

/// What a model is run in.
struct VerifiedPrecision {
  let weights: String
  /// Of keys and values on a GPU.
  let keys: CUDACachePrecision

  init(_ weights: String, keys: CUDACachePrecision = .auto) {
    self.weights = weights
    self.keys = keys
  }

  var areKeysFP8: Bool { keys == .fp8 }
  /// As "bf16", "bf16 with fp8 keys".
  var name: String { areKeysFP8 ? "\(weights) with fp8 keys" : weights }

  /// Whether it is how a checkpoint stores codes, that are multiplied as they are.
  var isStored: Bool { ShapeWeights.Storage(calibrated: weights) != nil }

  static let codes =
    "and codes as \(ShapeWeights.Storage.calibrated.map(\.name).joined(separator: ", "))"

  /// Of a GPU.
  func configuration(
    gpu: Int, steps: CUDASteps? = nil, keepsFloats: Bool = false
  ) throws(UsageError) -> CUDADeviceConfiguration {
    guard let precision = isStored ? .auto : CUDAPrecision(rawValue: weights) else {
      throw UsageError(
        "--precision holds '\(weights)'; a CUDA device has auto, bf16, fp8, w8, w4, w8a8, "
          + "sparse, fp8a8, \(Self.codes)")
    }
    return CUDADeviceConfiguration(
      gpu: gpu, precision: precision, cachePrecision: keys, steps: steps, keepsFloats: keepsFloats)
  }

  /// How steps of few rows can be queued with it.
  var ways: [CUDASteps] {
    let isOneLaunch = !isStored && weights != "fp8a8" && !areKeysFP8
    return isOneLaunch ? CUDASteps.allCases : [.kernels, .graphs]
  }
}
