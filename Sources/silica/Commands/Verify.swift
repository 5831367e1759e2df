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
    Option("--format", "NAME", "table (a line for each check) or json", default: "table"),
  ]

  static let discussion = """
    Weights are random, in the shapes of published models with some layers and 512 tokens of
    vocabulary. Each operation gets the reference's inputs; its output is filled with NaN before.
    The error is the root mean square of the differences over that of the reference's values. Where
    keys and values are kept in FP8, the reference gets them rounded. Then the same tokens run in
    other chunks, which must change no bit, and in bf16 with the keys in 3 slices on devices of the
    same GPU, which must give the same bits with the host between them and without; and where a
    model has latent attention, in bf16 in its expanded form (--mla-prefill). In the end the
    device draws tokens from random logits, by all parameters and with what log-probabilities are
    made of, which must be what the host does (a CPU draws the largest alone). Exits with 1 if
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
    if format == "table" { Console.out("seed \(seed), \(rows) tokens\n") }
    var failures = 0
    func report(_ checks: [Check]) {
      for check in checks {
        failures += check.isRight ? 0 : 1
        Console.out(format == "json" ? check.json.description + "\n" : check.line)
      }
    }
    for shape in shapes.split(separator: ",").map(String.init) {
      for precision in precisions {
        let model = try VerifiedModel(shape, precision: precision, seed: UInt64(seed), rows: rows)
        report(try model.checks(on: kind))
      }
    }
    report(try Check.draws(on: kind, seed: UInt64(seed)))
    guard failures == 0 else { throw CommandError("\(failures) checks failed; seed \(seed)") }
    if format == "table" { Console.out("all is as the reference has it\n") }
  }
}

/// The device that is looked at.
private struct VerifiedDevice {
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
    let isStored = ShapeWeights.Storage(calibrated: precision) != nil
    let codes =
      "and codes as \(ShapeWeights.Storage.calibrated.map(\.name).joined(separator: ", "))"
    if let gpu {
      guard let precision = isStored ? .auto : CUDAPrecision(rawValue: precision) else {
        throw UsageError(
          "--precision holds '\(precision)'; a CUDA device has auto, bf16, fp8, w8, w4, w8a8, "
            + "sparse, fp8a8, \(codes)")
      }
      return try CUDADevice(
        CUDADeviceConfiguration(
          gpu: gpu, precision: precision, cachePrecision: verified.keys, keepsFloats: keepsFloats))
    }
    guard let precision = isStored ? .auto : CPUPrecision(rawValue: precision) else {
      throw UsageError(
        "--precision holds '\(precision)'; a CPU has auto, f32, bf16, fp8, w8 and w4, \(codes)")
    }
    return try CPUDevice(CPUDeviceConfiguration(precision: precision))
  }
}

/// What a model is run in.
private struct VerifiedPrecision {
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
}

/// One line of the report.
private struct Check {
  var shape: String
  var precision: String
  var subject: String
  /// nil where bits are compared.
  var error: Float?
  var bound: Float = 0
  var isRight: Bool

  var line: String {
    let result = error.map { "error \($0), at most \(bound)" } ?? "bit for bit"
    return "\(isRight ? "ok    " : "WRONG ")\(shape) \(precision) \(subject): \(result)\n"
  }

  var json: JSON {
    [
      "shape": .string(shape), "precision": .string(precision), "check": .string(subject),
      "error": error.map { .number(Double($0)) } ?? .null, "ok": .bool(isRight),
    ]
  }
}

extension Check {
  /// Columns of logits, and rows that a token is drawn from in each of some rounds.
  private static let draws = [(width: 1_000, rows: 40, rounds: 5), (152_064, 20, 1)]

  /// Tokens drawn from random logits, by all parameters.
  static func draws(on kind: VerifiedDevice, seed: UInt64) throws -> [Check] {
    try draws.compactMap { width, rows, rounds in
      let made = try kind.make(VerifiedPrecision("bf16"))
      guard let device = made as? any TokenDrawer else { return nil }
      let comparison = try DrawComparison(device, width: width, rowCountMax: rows)
      let differences = try (0..<rounds).reduce(0) {
        try $0 + comparison.differences(seed: seed &+ UInt64($1), count: rows)
      }
      return Check(
        shape: "logits", precision: "f32",
        subject: "\(rows * rounds) tokens drawn from \(width) as the host draws them",
        isRight: differences == 0)
    }
  }
}

/// A shape with weights and tokens.
private struct VerifiedModel {
  /// Enough for any token, and little for the reference.
  private static let vocabulary = 512

  private let shape: String
  private let precision: VerifiedPrecision
  private let program: Program
  private let weights: ShapeWeights
  private let tokens: [Int32]

  init(_ shape: String, precision: VerifiedPrecision, seed: UInt64, rows: Int) throws {
    self.shape = shape
    self.precision = precision
    program = try ModelShape(shape, vocabulary: Self.vocabulary).program()
    // FP8 as a checkpoint has it: codes and scales are then exact.
    let storage =
      ShapeWeights.Storage(calibrated: precision.weights)
      ?? ["fp8": .fp8, "fp8a8": .fp8, "sparse": .twoOfFour][precision.weights] ?? .bf16
    weights = ShapeWeights(program, storage: storage, seed: seed)
    var state = seed
    tokens = (0..<rows).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int32(state >> 33 % UInt64(Self.vocabulary))
    }
  }

  func checks(on kind: VerifiedDevice) throws -> [Check] {
    let comparison = try DeviceComparison(
      program, weights, device: try kind.make(precision, keepsFloats: true),
      keysAreFP8: precision.areKeysFP8, rowCount: tokens.count)
    var checks = try comparison.results(of: tokens, chunk: max(1, tokens.count * 2 / 3)).map {
      let bound = Self.bound($0.operation, precision.weights, kind)
      return Check(
        shape: shape, precision: precision.name, subject: $0.operation, error: $0.error,
        bound: bound,
        isRight: $0.error <= bound)
    }
    checks.append(try sameBits(on: kind))
    if let gpu = kind.gpu, precision.weights == "bf16" {
      checks.append(try slices(on: gpu))
      checks += try expansion(on: gpu)
    }
    return checks
  }

  /// Rows of a step for each of a GPU's kernels of products for few tokens and for batches; beside
  /// them, all tokens are a prompt.
  private static let chunks = [1, 12, 20, 50]

  private func sameBits(on kind: VerifiedDevice) throws -> Check {
    let chunks = Self.chunks.filter { $0 < tokens.count }
    let whole = try lastLogits(on: kind.make(precision), chunk: tokens.count)
    let isSame = try chunks.allSatisfy {
      let other = try lastLogits(on: kind.make(precision), chunk: $0)
      return other.map(\.bitPattern) == whole.map(\.bitPattern)
    }
    let words = chunks.map { "\($0)" }.joined(separator: ", ")
    return Check(
      shape: shape, precision: precision.name,
      subject: "same bits in chunks of \(words) and \(tokens.count)",
      isRight: isSame && whole.allSatisfy(\.isFinite))
  }

  /// What slices of the keys exchange without the host.
  private func slices(on gpu: Int) throws -> Check {
    let slices = VerifiedSlices(
      program: program, weights: weights, tokens: tokens, gpu: gpu, keys: precision.keys)
    return Check(
      shape: shape, precision: precision.name,
      subject: "\(VerifiedSlices.count) context slices with the host between them and without",
      isRight: try slices.areSame())
  }

  /// Latent attention of prompts in its expanded form, with what stands around it.
  private func expansion(on gpu: Int) throws -> [Check] {
    let expansion = VerifiedExpansion(
      program: program, weights: weights, tokens: tokens, gpu: gpu, keys: precision.keys)
    guard let error = try expansion.error() else { return [] }
    let bound: Float = 1e-2
    return [
      Check(
        shape: shape, precision: precision.name, subject: "expanded latentAttention",
        error: error, bound: bound, isRight: error <= bound),
      Check(
        shape: shape, precision: precision.name,
        subject: "expanded latentAttention in other chunks and portions",
        isRight: try expansion.areSame { try lastLogits(on: $0, chunk: $1) }),
    ]
  }

  /// What a format costs a single matrix (see Docs/quality.md), with room; else what sums in
  /// another order, and keys and values in bfloat16, cost.
  private static func bound(
    _ operation: String, _ precision: String, _ kind: VerifiedDevice
  ) -> Float {
    switch operation {
    case "linear", "experts":
      switch precision {
      case "w4": 0.2
      case "w8", "w8a8": 0.03
      // Of activations in e4m3; experts have two such products.
      case "fp8a8": operation == "experts" ? 0.08 : 0.04
      // A CPU multiplies FP8 with FP8.
      case "fp8" where kind.isCPU: 0.08
      // It makes codes of 8 bits of what it multiplies stored codes with.
      case _ where kind.isCPU && precision.hasPrefix("int"): 0.03
      default: operation == "experts" && !kind.isCPU ? 4e-3 : 1e-3
      }
    case "attention", "latentAttention": 1e-2
    // A GPU keeps what products read in bfloat16.
    case "headwiseLinear": kind.isCPU ? 1e-3 : 4e-3
    case "rmsNorm", "swiglu": kind.isCPU ? 1e-4 : 4e-3
    case "rope": 1e-3
    default: 1e-4
    }
  }

  private func lastLogits(on device: any Device, chunk: Int) throws -> [Float] {
    let capacity = DeviceComparison.capacity(rowCount: tokens.count)
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
    var logits = [Float](repeating: .nan, count: program.vocabularySize)
    guard case .logits(let value) = program.output else { return logits }
    for start in stride(from: 0, to: tokens.count, by: chunk) {
      let part = tokens[start..<min(tokens.count, start + chunk)]
      try device.begin(DeviceComparison.plan(part, capacity: capacity, outputs: .last))
      try device.run(program.operations.indices)
      try logits.withUnsafeMutableBufferPointer { try device.read(value, into: $0) }
    }
    return logits
  }
}
