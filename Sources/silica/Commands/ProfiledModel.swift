// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Conformance
import Device
import Models
import Program
import Step
import Support

/// A model and the GPU that `silica profile` runs it on.
struct ProfiledModel {
  private let name: String
  private let gpu: Int
  private let precision: CUDAPrecision
  private let cachePrecision: CUDACachePrecision
  private let expansion: CUDAExpansion?
  /// nil: as the environment says.
  private let steps: CUDASteps?
  /// As it was asked for.
  private let precisionName: String
  private let program: Program
  private let weights: any WeightSource
  private let traffic: CUDATraffic

  /// - Parameter word: a device's precision, or of a shape how its weights are stored.
  init(
    _ model: String, gpu: Int, precision word: String, cachePrecision: CUDACachePrecision,
    expansion: CUDAExpansion?, steps: CUDASteps?
  ) throws {
    self.gpu = gpu
    self.cachePrecision = cachePrecision
    self.expansion = expansion
    self.steps = steps
    precisionName = word
    let storage = ShapeWeights.Storage(calibrated: word)
    precision = CUDAPrecision(rawValue: word) ?? .auto
    if model.hasPrefix(ModelShape.prefix) {
      name = String(model.dropFirst(ModelShape.prefix.count))
      program = try ModelShape(name).program()
      weights = ShapeWeights(program, storage: storage ?? .bf16, seed: 1)
    } else {
      guard storage == nil else {
        throw UsageError("--precision is '\(word)'; a checkpoint's codes are as it stores them")
      }
      name = model
      let checkpoint = try Checkpoint(directory: model)
      program = try Model.program(for: checkpoint)
      weights = checkpoint
    }
    traffic = try CUDATraffic(
      program, from: weights, precision: precision, cachePrecision: cachePrecision,
      expansion: expansion)
  }

  var title: String { "\(name) \(precisionName)" }

  private func device() throws(DeviceError) -> CUDADevice {
    try CUDADevice(
      CUDADeviceConfiguration(
        gpu: gpu, precision: precision, cachePrecision: cachePrecision, expansion: expansion,
        steps: steps))
  }

  func limits() throws(DeviceError) -> LimitsReport {
    let device = try device()
    return LimitsReport(device: device.summary, limits: try device.limits())
  }

  /// The model on its GPU, with room for so many sequences or a prompt.
  func loaded(
    batch: Int, context: Int, prompt: Int, _ limits: LimitsReport
  ) throws -> ProfileRun {
    guard max(context, prompt) <= program.contextLength else {
      throw UsageError(
        "--context is \(context) and the longest --prefill \(prompt); the model takes "
          + "\(program.contextLength)")
    }
    let device = try device()
    let blocks = max(ProfileRun.blocks(context) * batch, ProfileRun.blocks(prompt))
    let capacity = DeviceCapacity(
      rowCountMax: max(batch, prompt), outputCountMax: batch, blockCount: blocks,
      blockTokens: ProfileRun.blockTokens)
    let start = Clock.nowNanoseconds
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
    try device.fillCaches()
    let seconds = Double(Clock.nowNanoseconds - start) / 1e9
    return ProfileRun(
      name: name, precision: precisionName, cachePrecision: cachePrecision,
      isExpanded: expansion != nil, steps: steps, context: context,
      program: program, traffic: traffic, device: device, loadSeconds: seconds,
      limits: limits.limits)
  }
}

/// A model that is loaded, and what is measured of it.
struct ProfileRun {
  static let blockTokens = 16

  let name: String
  let precision: String
  let cachePrecision: CUDACachePrecision
  /// Whether latent attention of prompts takes its expanded form.
  let isExpanded: Bool
  /// How steps of few rows are queued; nil: as the environment says.
  let steps: CUDASteps?
  let context: Int
  let program: Program
  let traffic: CUDATraffic
  let device: CUDADevice
  let loadSeconds: Double
  let limits: CUDADevice.Limits

  static func blocks(_ tokens: Int) -> Int { (tokens + blockTokens - 1) / blockTokens }

  private func plan(sequences: Int, rows: Int, firstPosition: Int) -> StepPlan {
    let blocks = Self.blocks(firstPosition + rows)
    var plan = StepPlan(id: 0, tokens: [], sequences: [])
    for index in 0..<sequences {
      let first = index * rows
      plan.tokens += (first..<first + rows).map { Int32($0 * 97 % program.vocabularySize) }
      plan.sequences.append(
        StepSequence(
          id: SequenceID(UInt64(index)), rows: first..<first + rows, firstPosition: firstPosition,
          blocks: (0..<Int32(blocks)).map { $0 + Int32(index * blocks) }, outputs: .last))
    }
    return plan
  }

  func decode(
    batch: Int, hasTable: Bool, _ effort: CUDADevice.Effort
  ) throws(DeviceError) -> DecodeReport {
    let plan = plan(sequences: batch, rows: 1, firstPosition: context - 1)
    var report = DecodeReport(
      run: self, batch: batch, seconds: try device.stepSeconds(plan, effort),
      bytes: traffic.bytesPerStep(rows: batch, context: context),
      kernelCount: steps == .oneLaunch
        ? nil
        : try device.kernelNames(program.operations.indices, tokens: batch, outputs: batch).count)
    guard hasTable else { return report }
    for (index, seconds) in try device.operationSeconds(plan, effort).enumerated() {
      report.add(
        program.operations[index].kind, seconds: seconds,
        bytes: traffic.bytes(ofOperation: index, rows: batch, context: context))
    }
    return report
  }

  func prefill(tokens: Int, _ effort: CUDADevice.Effort) throws(DeviceError) -> PrefillReport {
    let plan = plan(sequences: 1, rows: tokens, firstPosition: 0)
    return PrefillReport(
      run: self, tokens: tokens, seconds: try device.stepSeconds(plan, effort),
      flops: traffic.flopsOfPrefill(tokens: tokens))
  }
}
