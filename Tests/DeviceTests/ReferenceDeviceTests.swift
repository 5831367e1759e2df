// SPDX-License-Identifier: Apache-2.0

import Device
import Program
import Step
import Support
import Testing

/// What the reference promises of itself; that its numbers are right, `ModelsTests` shows.
@Suite struct ReferenceDeviceTests {
  @Test(arguments: OperationCase.all)
  func `neither batch nor chunks change a bit`(_ operation: OperationCase) throws {
    func driver() throws -> DeviceDriver {
      try DeviceDriver(operation.program, on: [ReferenceDevice()])
    }
    let together = try driver().results(of: operation.sequences)
    #expect(together.joined().allSatisfy { $0.isFinite })
    #expect(Set(together.joined()).count > 4)
    for (sequence, expected) in zip(operation.sequences, together) {
      let alone = try driver().results(of: [sequence])
      #expect(alone == [expected])
    }
    for chunk in [1, 3, 8] {
      let chunked = try driver().results(of: operation.sequences, chunk: chunk)
      #expect(chunked == together)
    }
  }

  @Test(arguments: OperationCase.all.filter(\.hasAttention), [2, 3, 8])
  func `slices of the keys merge to the whole`(_ operation: OperationCase, _ count: Int) throws {
    let whole = try DeviceDriver(operation.program, on: [ReferenceDevice()])
      .results(of: operation.sequences)
    let devices = (0..<count).map { _ in ReferenceDevice() }
    let sliced = try DeviceDriver(operation.program.withLogSumExp(), on: devices)
      .results(of: operation.sequences, chunk: 5)
    #expect(OperationCase.largestDifference(sliced, whole) < 1e-5)
  }

  @Test(arguments: OperationCase.all.filter(\.hasAttention))
  func `a slice without keys gives zeros and minus infinity`(_ operation: OperationCase) throws {
    let program = operation.program.withLogSumExp()
    let device = ReferenceDevice()
    let capacity = DeviceCapacity(
      rowCountMax: 4, outputCountMax: 4, blockCount: 2, blockTokens: 4,
      contextSlice: ContextSlice(index: 1, count: 2))
    try device.load(program, from: RandomWeights(), capacity: capacity, progress: { _ in })
    let sequence = StepSequence(
      id: SequenceID(1), rows: 0..<3, firstPosition: 0, blocks: [0], outputs: .all)
    device.begin(StepPlan(id: 0, tokens: [0, 1, 2], sequences: [sequence]))
    let attention = try #require(program.operations.firstIndex { $0.writes.count == 2 })
    device.run(0..<attention + 1)
    let written = program.operations[attention].writes
    #expect(read(written[0], 3, of: program, from: device).allSatisfy { $0 == 0 })
    #expect(read(written[1], 3, of: program, from: device).allSatisfy { $0 == -.infinity })
  }

  private func read(
    _ value: ValueID, _ rows: Int, of program: Program, from device: ReferenceDevice
  ) -> [Float] {
    var floats = [Float](repeating: .nan, count: rows * program[value].width)
    floats.withUnsafeMutableBufferPointer { device.read(value, into: $0) }
    return floats
  }

  @Test func `only the rows that were asked for come out`() throws {
    let operation = try #require(OperationCase.all.first { $0.hasAttention })
    let tokens: [Int32] = [0, 1, 2, 3, 4, 5]
    func run(_ outputs: [OutputRows]) throws -> [Float] {
      let driver = try DeviceDriver(operation.program, on: [ReferenceDevice()])
      let sequences = outputs.enumerated().map { index, outputs in
        StepSequence(
          id: SequenceID(UInt64(index)), rows: index * 2..<index * 2 + 2, firstPosition: 0,
          blocks: [Int32(index)], outputs: outputs)
      }
      return try driver.run(StepPlan(id: 0, tokens: tokens, sequences: sequences))
    }
    let all = try run([.all, .all, .all])
    let width = all.count / 6
    let some = try run([.last, .none, .all])
    #expect(some == Array(all[width..<2 * width] + all[(4 * width)...]))
    let nothing = try run([.none, .none, .none])
    #expect(nothing.isEmpty)
  }

  @Test(arguments: [ElementType.float16, .bfloat16, .float8e4m3])
  func `weights of other types are used at their value`(_ type: ElementType) throws {
    let operation = try #require(OperationCase.all.first { $0.name == "linear 64 to 96" })
    let stored = RandomWeights(type: type)
    let converted = ConvertedWeights(source: stored)
    func results(_ weights: any WeightSource) throws -> [[Float]] {
      try DeviceDriver(operation.program, weights, on: [ReferenceDevice()])
        .results(of: operation.sequences)
    }
    let used = try results(stored)
    let (ofConverted, ofFloats) = (try results(converted), try results(RandomWeights()))
    #expect(ofConverted == used)
    #expect(ofFloats != used)
  }

  @Test func `a missing weight is an error with its name`() throws {
    let operation = OperationCase.all[0]
    let error = #expect(throws: DeviceError.self) {
      _ = try DeviceDriver(operation.program, NoWeights(), on: [ReferenceDevice()])
    }
    #expect(error?.message == "tensor embed.embed is missing")
    #expect(error?.code == .failedPrecondition)
  }

  @Test func `stages give the bits of the whole`() throws {
    let operation = try #require(OperationCase.all.first { $0.hasAttention })
    let whole = operation.program
    let border = whole.layers[0].lowerBound
    guard case .embed(let embed) = whole.operations[0] else { return }
    var first = whole
    first.operations = Array(whole.operations[..<border])
    first.output = .hidden(embed.output)
    var second = whole
    second.operations = Array(whole.operations[border...])
    second.input = .hidden(embed.output)

    let sequence = StepSequence(
      id: SequenceID(1), rows: 0..<5, firstPosition: 0, blocks: [1, 0], outputs: .all)
    let plan = StepPlan(id: 0, tokens: [5, 1, 2, 5, 3], sequences: [sequence])
    let capacity = DeviceCapacity(
      rowCountMax: 8, outputCountMax: 8, blockCount: 2, blockTokens: 4)
    let devices = (0..<2).map { _ in ReferenceDevice() }
    for (device, program) in zip(devices, [first, second]) {
      try device.load(program, from: RandomWeights(), capacity: capacity, progress: { _ in })
      device.begin(plan)
    }
    devices[0].run(first.operations.indices)
    read(embed.output, 5, of: first, from: devices[0])
      .withUnsafeBufferPointer { devices[1].write(embed.output, from: $0) }
    devices[1].run(second.operations.indices)
    guard case .logits(let logits) = second.output else { return }
    let staged = read(logits, 5, of: second, from: devices[1])
    let expected = try DeviceDriver(whole, on: [ReferenceDevice()]).run(plan)
    #expect(staged == expected)
  }
}

/// A source's weights, all as 32-bit floats.
private struct ConvertedWeights: WeightSource {
  let source: RandomWeights

  private final class Storage: Sendable {
    let floats: [Float]

    init(_ floats: [Float]) { self.floats = floats }
  }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    let storage = Storage(try source.tensor(weight).dequantized())
    return StoredTensor(
      weight: weight, type: .float32, bytes: storage.floats.withUnsafeBytes { $0 }, scales: nil,
      owner: storage)
  }
}

private struct NoWeights: WeightSource {
  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    throw WeightError("tensor \(weight.name) is missing")
  }
}

extension OperationCase {
  var hasAttention: Bool { !program.caches.isEmpty }
}

extension Program {
  /// The program, its attentions also giving their log-sum-exp.
  func withLogSumExp() -> Program {
    var program = self
    for (index, operation) in operations.enumerated() {
      let next = ValueID(index: program.values.count)
      switch operation {
      case .attention(var op):
        op.logSumExp = next
        program.operations[index] = .attention(op)
        program.values.append(Value(label: "log-sum-exp", width: op.queries.count))
      case .latentAttention(var op):
        op.logSumExp = next
        program.operations[index] = .latentAttention(op)
        program.values.append(Value(label: "log-sum-exp", width: op.latentQueries.count))
      default: break
      }
    }
    return program
  }
}
