// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Checkpoint
import Device
import Models
import Program
import Slicing
import Step

/// What a model's layer for multi-token prediction says of given tokens: the logits of the token
/// after the next one, without an engine, on a device for the model and one for the layer.
struct NextTokenLogits {
  private static let blockTokens = 16

  private let model: Program
  private let layer: Program
  private let checkpoint: Checkpoint
  private let options: ModelOptions

  /// Throws for a model without such a layer.
  init(_ options: ModelOptions) throws {
    checkpoint = try Checkpoint(directory: options.directory)
    model = try Model.program(for: checkpoint)
    guard let layer = try Model.nextTokenProgram(for: checkpoint) else {
      throw CommandError(
        "--after-next: \(options.directory) has no layer for multi-token prediction "
          + "(num_nextn_predict_layers in config.json is 0 or missing, or its weights are missing)"
      )
    }
    self.layer = layer
    self.options = options
  }

  var vocabularySize: Int { model.vocabularySize }
  /// Tokens that the model was made for; memory grows with the tokens given.
  var contextLength: Int { model.contextLength }

  /// Row `t` is of the token at `t + 2`: `[tokens - 1, vocabulary]`. All tokens are one step.
  ///
  /// - Parameter tokens: at least 2.
  func logits(of tokens: [Int32]) throws(DeviceError) -> [Float] {
    let hidden = try hiddenStates(of: Array(tokens.dropLast()))
    let plan = Self.plan(Array(tokens.dropFirst()), outputs: .all)
    let device = try loaded(layer, rows: plan.rowCount)
    try device.begin(plan)
    if case .hidden(let input) = layer.input { try write(hidden, to: input, of: device) }
    try device.run(layer.operations.indices)
    return try read(layer.output, of: layer, rows: plan.rowCount, from: device)
  }

  /// What the model's last layer leaves at each token, `[tokens, hidden]`.
  private func hiddenStates(of tokens: [Int32]) throws(DeviceError) -> [Float] {
    let end = model.layers.last?.upperBound ?? 0
    let hidden: ValueID
    do { hidden = try model.valueCrossing(end) } catch {
      throw DeviceError(error.code, error.message)
    }
    let device = try loaded(model, rows: tokens.count)
    try device.begin(Self.plan(tokens, outputs: .none))
    try device.run(0..<end)
    return try read(.hidden(hidden), of: model, rows: tokens.count, from: device)
  }

  private func loaded(_ program: Program, rows: Int) throws(DeviceError) -> any Device {
    let device: any Device =
      switch options.device {
      case .reference: ReferenceDevice()
      case .cpu: try CPUDevice(cpuConfiguration)
      case .cuda(let gpu):
        try CUDADevice(
          CUDADeviceConfiguration(
            gpu: gpu ?? 0, precision: options.cudaPrecision,
            cachePrecision: options.cudaCachePrecision, expansion: options.expansion))
      }
    let capacity = DeviceCapacity(
      rowCountMax: rows, outputCountMax: rows, blockCount: Self.blockCount(rows),
      blockTokens: Self.blockTokens)
    try device.load(program, from: checkpoint, capacity: capacity, progress: { _ in })
    return device
  }

  private var cpuConfiguration: CPUDeviceConfiguration {
    var configuration = options.cpuConfiguration
    configuration.threadCount = options.threads
    return configuration
  }

  private static func blockCount(_ tokens: Int) -> Int { (tokens + blockTokens - 1) / blockTokens }

  private static func plan(_ tokens: [Int32], outputs: OutputRows) -> StepPlan {
    let sequence = StepSequence(
      id: SequenceID(0), rows: 0..<tokens.count, firstPosition: 0,
      blocks: Array(0..<Int32(blockCount(tokens.count))), outputs: outputs)
    return StepPlan(id: 0, tokens: tokens, sequences: [sequence])
  }

  private func write(
    _ floats: [Float], to value: ValueID, of device: any Device
  ) throws(DeviceError) {
    let result = floats.withUnsafeBufferPointer { buffer in
      Result { () throws(DeviceError) in try device.write(value, from: buffer) }
    }
    try result.get()
  }

  private func read(
    _ output: Program.Output, of program: Program, rows: Int, from device: any Device
  ) throws(DeviceError) -> [Float] {
    let value =
      switch output {
      case .logits(let value), .hidden(let value): value
      }
    var floats = [Float](repeating: 0, count: rows * program[value].width)
    let result = floats.withUnsafeMutableBufferPointer { buffer in
      Result { () throws(DeviceError) in try device.read(value, into: buffer) }
    }
    try result.get()
    return floats
  }
}
