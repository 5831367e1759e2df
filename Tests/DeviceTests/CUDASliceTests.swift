// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Device
import Program
import Slicing
import Step
import TestSupport
import Testing

/// The merge of what several devices attended to, beside the host's.
@Suite struct CUDASliceTests {
  /// What a slice gave.
  private struct Part {
    var output: [Float]
    var logs: [Float]

    /// Logarithms of all sizes, some alike; no keys for some heads.
    init(columns: Int, heads: Int, _ random: inout SeededGenerator) {
      output = (0..<columns).map { _ in .random(in: -4...4, using: &random) }
      logs = (0..<heads).map { _ in
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1: -.infinity
        case 2: 3.25
        case 3: .random(in: -900...900, using: &random)
        default: .random(in: -6...6, using: &random)
        }
      }
    }
  }

  private static func attentions() -> [OperationCase] {
    OperationCase.all.filter { $0.name.contains("attention") } + OperationCase.deepAttention
  }

  private func merged(_ parts: [Part], rows: Int, _ merge: MergePoint) -> [Float] {
    var result = [Float](repeating: .nan, count: parts[0].output.count)
    let copies = parts.map { part in
      let output = UnsafeMutableBufferPointer<Float>.allocate(capacity: part.output.count)
      let logs = UnsafeMutableBufferPointer<Float>.allocate(capacity: part.logs.count)
      _ = (output.initialize(from: part.output), logs.initialize(from: part.logs))
      return (output, logs)
    }
    defer {
      for (output, logs) in copies {
        output.deallocate()
        logs.deallocate()
      }
    }
    let pointers = copies.compactMap { output, logs in
      output.baseAddress.flatMap { output in
        logs.baseAddress.map { PartialAttention(output: output, logSumExp: $0) }
      }
    }
    result.withUnsafeMutableBufferPointer { buffer in
      guard let first = buffer.baseAddress else { return }
      mergeByLogSumExp(
        pointers, rows: rows, heads: merge.heads, width: merge.width, into: first)
    }
    return result
  }

  private func write(_ part: Part, _ output: ValueID, _ logs: ValueID, to device: any Device) throws
  {
    try part.output.withUnsafeBufferPointer { try device.write(output, from: $0) }
    try part.logs.withUnsafeBufferPointer { try device.write(logs, from: $0) }
  }

  @Test(arguments: [2, 3, 33, 64])
  func `the merge has the bits of the host's`(slices: Int) throws {
    var random = SeededGenerator(seed: UInt64(slices))
    for tested in Self.attentions() {
      let slicing = ContextSlicing(tested.program)
      let merge = try #require(slicing.merges.first)
      var leader = try run(slicing.leader, gpu: 0, slice: 0, of: slices)
      var follower = try run(slicing.follower, gpu: 1, slice: 1, of: slices)
      for rows in [1, 7] {
        let plan = CPUModelRun.plan([(0, [Int32](repeating: 1, count: rows), 0)])
        try leader.begin(plan)
        try follower.begin(plan)
        let parts = (0..<slices).map { _ in
          Part(
            columns: rows * merge.heads * merge.width, heads: rows * merge.heads, &random)
        }
        let (here, there) = (try peer(leader), try peer(follower))
        let handoffs = try parts.dropFirst().map { part in
          let handoff = try here.makeHandoff(
            of: [[merge.output, merge.logSumExp]], places: 1)
          #expect(try there.open(handoff) == .direct("from cuda:1 to cuda:0"))
          try write(part, merge.followerOutput, merge.followerLogSumExp, to: there)
          try there.send(
            [merge.followerOutput, merge.followerLogSumExp], to: handoff, place: 0)
          return handoff
        }
        try write(parts[0], merge.output, merge.logSumExp, to: here)
        try here.merge(merge.output, merge.logSumExp, with: handoffs, place: 0)
        let found = try leader.values(merge.output)
        #expect(
          bitsEqual(found, merged(parts, rows: rows, merge)), "\(tested.name), \(rows) rows")
        #expect(found.contains { $0 != 0 })
      }
    }
  }

  /// What is sent twice shows that nothing is kept of the first.
  @Test func `values come to where a follower's attention reads them`() throws {
    var random = SeededGenerator(seed: 9)
    for tested in Self.attentions() {
      let slicing = ContextSlicing(tested.program)
      let merge = try #require(slicing.merges.first)
      var leader = try run(slicing.leader, gpu: 0, slice: 0, of: 2)
      var follower = try run(slicing.follower, gpu: 1, slice: 1, of: 2)
      let (here, there) = (try peer(leader), try peer(follower))
      let handoff = try there.makeHandoff(inPlaceOf: [merge.handOver.map(\.follower)])
      #expect(try here.open(handoff) == .direct("from cuda:0 to cuda:1"))
      for rows in [7, 3, 16] {
        let plan = CPUModelRun.plan([(0, [Int32](repeating: 1, count: rows), 0)])
        try leader.begin(plan)
        try follower.begin(plan)
        let sent = merge.handOver.map { part in
          (0..<rows * part.width).map { _ in Float.random(in: -9...9, using: &random) }
        }
        for (part, floats) in zip(merge.handOver, sent) {
          try floats.withUnsafeBufferPointer { try here.write(part.leader, from: $0) }
        }
        try here.send(merge.handOver.map(\.leader), to: handoff, place: 0)
        try there.receive(merge.handOver.map(\.follower), from: handoff, place: 0)
        for (part, floats) in zip(merge.handOver, sent) {
          #expect(bitsEqual(try follower.values(part.follower), floats), "\(tested.name)")
        }
      }
    }
  }

  /// A follower that ends does not wait for its leader's queue, which may have copies to it.
  @Test func `what is sent to a device that has ended harms nobody`() throws {
    let slicing = ContextSlicing(try #require(Self.attentions().first).program)
    let merge = try #require(slicing.merges.first)
    var leader = try run(slicing.leader, gpu: 0, slice: 0, of: 2)
    let plan = CPUModelRun.plan([(0, [1, 1, 1], 0)])
    try leader.begin(plan)
    let here = try peer(leader)
    for part in merge.handOver {
      let floats = [Float](repeating: 1, count: 3 * part.width)
      try floats.withUnsafeBufferPointer { try here.write(part.leader, from: $0) }
    }
    do {
      let follower = try run(slicing.follower, gpu: 1, slice: 1, of: 2)
      let handoff = try peer(follower).makeHandoff(inPlaceOf: [merge.handOver.map(\.follower)])
      #expect(try here.open(handoff) == .direct("from cuda:0 to cuda:1"))
      try here.send(merge.handOver.map(\.leader), to: handoff, place: 0)
    }
    let kept = try leader.values(merge.handOver[0].leader)
    #expect(kept.allSatisfy { $0 == 1 })
  }

  private func run(_ program: Program, gpu: Int, slice: Int, of count: Int) throws -> CPUModelRun {
    try CPUModelRun(
      program, RandomWeights(), on: try EmulatedGPU.device(gpu: gpu),
      slice: ContextSlice(index: slice, count: count), rowCountMax: 16)
  }

  private func peer(_ run: CPUModelRun) throws -> any PeerDevice {
    try #require(run.device as? any PeerDevice)
  }
}
