// SPDX-License-Identifier: Apache-2.0

import Device
import Foundation
import Program
import Step
import Support

/// Runs sequences through a program, on one device or on several that hold a slice of the keys
/// each.
struct DeviceDriver {
  private let blockTokens: Int
  private let program: Program
  /// One for each context slice.
  private let devices: [any Device]
  private let sequenceCountMax = 8
  private let blocksPerSequence = 288

  /// Loads the devices. With more than one, attention must give its log-sum-exp.
  init(
    _ program: Program, _ weights: any WeightSource = RandomWeights(), on devices: [any Device],
    rowCountMax: Int = 256, blockTokens: Int = 4
  ) throws {
    self.blockTokens = blockTokens
    self.program = program
    self.devices = devices
    for (index, device) in devices.enumerated() {
      let capacity = DeviceCapacity(
        rowCountMax: rowCountMax, outputCountMax: rowCountMax,
        blockCount: sequenceCountMax * blocksPerSequence,
        blockTokens: blockTokens,
        contextSlice: ContextSlice(index: index, count: devices.count))
      try device.load(program, from: weights, capacity: capacity, progress: { _ in })
    }
  }

  /// The program's result after each token of each sequence, fed in shared steps that take up to
  /// `chunk` tokens of each: for each sequence `[tokens, width]`.
  func results(of sequences: [[Int32]], chunk: Int = .max) throws(DeviceError) -> [[Float]] {
    var results = [[Float]](repeating: [], count: sequences.count)
    var positions = [Int](repeating: 0, count: sequences.count)
    var stepID: UInt64 = 0
    while true {
      var plan = StepPlan(id: stepID, tokens: [], sequences: [])
      for (index, tokens) in sequences.enumerated() where positions[index] < tokens.count {
        let count = min(chunk, tokens.count - positions[index])
        plan.append(
          tokens[positions[index]..<positions[index] + count],
          of: sequence(index, from: positions[index], count: count))
        positions[index] += count
      }
      guard plan.rowCount > 0 else { return results }
      var output = try run(plan)[...]
      for sequence in plan.sequences {
        let count = sequence.rows.count * resultWidth
        results[Int(sequence.id.value)] += output.prefix(count)
        output = output.dropFirst(count)
      }
      stepID += 1
    }
  }

  /// Runs one step and reads the program's result.
  func run(_ plan: StepPlan) throws(DeviceError) -> [Float] {
    for device in devices { try device.begin(plan) }
    var start = 0
    for (index, operation) in program.operations.enumerated() where devices.count > 1 {
      guard operation.writes.count == 2 else { continue }
      for device in devices { try device.run(start..<index + 1) }
      try merge(output: operation.writes[0], logSumExp: operation.writes[1], rows: plan.rowCount)
      start = index + 1
    }
    for device in devices { try device.run(start..<program.operations.count) }
    return try read(resultValue, rows: plan.outputCount, from: devices[0])
  }

  /// Replaces what each slice attended to by the exact sum over all (in double precision).
  private func merge(output: ValueID, logSumExp: ValueID, rows: Int) throws(DeviceError) {
    var parts: [[Float]] = []
    var logs: [[Float]] = []
    for device in devices {
      parts.append(try read(output, rows: rows, from: device))
      logs.append(try read(logSumExp, rows: rows, from: device))
    }
    let headCount = program[logSumExp].width
    let headWidth = program[output].width / headCount
    var merged = [Float](repeating: 0, count: parts[0].count)
    for head in 0..<rows * headCount {
      let largest = logs.map { Double($0[head]) }.max() ?? 0
      let weights = logs.map { exp(Double($0[head]) - largest) }
      let sum = weights.reduce(0, +)
      for column in head * headWidth..<(head + 1) * headWidth {
        merged[column] = Float(
          zip(parts, weights).reduce(0.0) { $0 + Double($1.0[column]) * $1.1 } / sum)
      }
    }
    for device in devices {
      let result = merged.withUnsafeBufferPointer { buffer in
        Result { () throws(DeviceError) in try device.write(output, from: buffer) }
      }
      try result.get()
    }
  }

  private func read(
    _ value: ValueID, rows: Int, from device: any Device
  ) throws(DeviceError) -> [Float] {
    var floats = [Float](repeating: .nan, count: rows * program[value].width)
    let result = floats.withUnsafeMutableBufferPointer { buffer in
      Result { () throws(DeviceError) in try device.read(value, into: buffer) }
    }
    try result.get()
    return floats
  }

  private var resultValue: ValueID {
    switch program.output {
    case .logits(let value), .hidden(let value): value
    }
  }

  private var resultWidth: Int { program[resultValue].width }

  /// Blocks of all sequences lie mixed, in falling order.
  private func sequence(_ index: Int, from position: Int, count: Int) -> StepSequence {
    let blockCount = (position + count + blockTokens - 1) / blockTokens
    check(index < sequenceCountMax && blockCount <= blocksPerSequence, "too much for the driver")
    let blocks = (0..<blockCount).map {
      Int32(sequenceCountMax * (blocksPerSequence - 1 - $0) + index)
    }
    return StepSequence(
      id: SequenceID(UInt64(index)), rows: 0..<count, firstPosition: position, blocks: blocks,
      outputs: .all)
  }
}

extension StepPlan {
  /// Appends tokens of a sequence as the next rows.
  fileprivate mutating func append(_ tokens: ArraySlice<Int32>, of sequence: StepSequence) {
    var sequence = sequence
    sequence.rows = self.tokens.count..<self.tokens.count + tokens.count
    self.tokens += tokens
    sequences.append(sequence)
  }
}
