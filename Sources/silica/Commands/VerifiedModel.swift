// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Conformance
import Device
import Program
import Step

/// A shape with weights and tokens, and what `silica verify` looks at with it.
struct VerifiedModel {
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

  func check(
    _ wanted: Set<VerifiedCheck>, on kind: VerifiedDevice, _ report: VerifyReport
  ) throws(UsageError) {
    func attempt(
      _ check: VerifiedCheck, _ subject: String, _ body: () throws -> [CheckResult]
    ) throws(UsageError) {
      guard wanted.contains(check) else { return }
      try report.attempt(shape, precision.name, subject, body)
    }
    try attempt(.operations, "operations") {
      try operations(on: kind) {
        report.progress(shape, precision.name, "\($0), operation \($1)", isDetail: true)
      }
    }
    let words = chunks.map { "\($0)" }.joined(separator: ", ")
    let chunked = "same bits in chunks of \(words) and \(tokens.count)"
    try attempt(.chunks, chunked) { [.bits(chunked, areSame: try haveSameBits(on: kind))] }
    guard let gpu = kind.gpu else { return }
    let ways = precision.ways
    let queued = "same bits as \(ways.map(\.rawValue).joined(separator: ", "))"
    try attempt(.steps, queued) { [.bits(queued, areSame: try areSame(ways, on: gpu))] }
    guard precision.weights == "bf16" else { return }
    let sliced =
      "\(VerifiedSlices.count) context slices with the host between them and without"
    try attempt(.slices, sliced) {
      let slices = VerifiedSlices(
        program: program, weights: weights, tokens: tokens, gpu: gpu, keys: precision.keys)
      return [.bits(sliced, areSame: try slices.areSame())]
    }
    try attempt(.expanded, "expanded latentAttention") { try expansion(on: gpu) }
  }

  private func operations(
    on kind: VerifiedDevice, begins: (String, Int) -> Void
  ) throws -> [CheckResult] {
    let comparison = try DeviceComparison(
      program, weights, device: try kind.make(precision, keepsFloats: true),
      keysAreFP8: precision.areKeysFP8, rowCount: tokens.count)
    let chunk = max(1, tokens.count * 2 / 3)
    return try comparison.results(of: tokens, chunk: chunk, begins: begins).map {
      .error($0.error, of: $0.operation, atMost: Self.bound($0.operation, precision.weights, kind))
    }
  }

  /// Rows of a step for each of a GPU's kernels of products for few tokens and for batches; beside
  /// them, all tokens are a prompt.
  private var chunks: [Int] { [1, 12, 20, 50].filter { $0 < tokens.count } }

  private func haveSameBits(on kind: VerifiedDevice) throws -> Bool {
    let whole = try lastLogits(on: kind.make(precision), chunk: tokens.count)
    return try whole.allSatisfy(\.isFinite)
      && chunks.allSatisfy {
        let other = try lastLogits(on: kind.make(precision), chunk: $0)
        return other.map(\.bitPattern) == whole.map(\.bitPattern)
      }
  }

  /// Of three rows, which a graph and a launch of four take too, and then one by one.
  private func areSame(_ ways: [CUDASteps], on gpu: Int) throws -> Bool {
    let all = try ways.map { steps in
      let configuration = try precision.configuration(gpu: gpu, steps: steps)
      return try lastLogits(on: CUDADevice(configuration), first: 3, chunk: 1)
    }
    return all.allSatisfy { logits in
      logits.allSatisfy(\.isFinite) && logits.map(\.bitPattern) == all[0].map(\.bitPattern)
    }
  }

  /// Latent attention of prompts in its expanded form, with what stands around it.
  private func expansion(on gpu: Int) throws -> [CheckResult] {
    let expansion = VerifiedExpansion(
      program: program, weights: weights, tokens: tokens, gpu: gpu, keys: precision.keys)
    guard let error = try expansion.error() else { return [] }
    return [
      .error(error, of: "expanded latentAttention", atMost: 1e-2),
      .bits(
        "expanded latentAttention in other chunks and portions",
        areSame: try expansion.areSame { try lastLogits(on: $0, chunk: $1) }),
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

  /// - Parameter first: rows of the first step; nil: as many as of the others.
  private func lastLogits(
    on device: any Device, first: Int? = nil, chunk: Int
  ) throws -> [Float] {
    let capacity = DeviceComparison.capacity(rowCount: tokens.count)
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
    var logits = [Float](repeating: .nan, count: program.vocabularySize)
    guard case .logits(let value) = program.output else { return logits }
    var start = 0
    while start < tokens.count {
      let part = tokens[start..<min(tokens.count, start + (start == 0 ? first ?? chunk : chunk))]
      start = part.endIndex
      try device.begin(DeviceComparison.plan(part, capacity: capacity, outputs: .last))
      try device.run(program.operations.indices)
      try logits.withUnsafeMutableBufferPointer { try device.read(value, into: $0) }
    }
    return logits
  }
}
