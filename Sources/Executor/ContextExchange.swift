// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Slicing
internal import Step
internal import Support
internal import Topology

/// What a leader asks of the followers that hold other parts of the keys.
enum FollowerWork: Sendable {
  case begin(StepPlan)
  /// Runs the attention of a merge point, by its index; what it reads comes from the leader's
  /// device or through the host.
  case attend(Int, isDirect: Bool)
  /// The step ends early, since another device failed.
  case abandon
  case stop
}

/// The memory and the rings between the leader of a stage and its followers. The memory is used
/// where there is no way without the host.
///
/// The buffers belong to the leader between two merge points and are read by the followers in one:
/// an `.attend` hands them over, the followers' answers give them back.
final class ContextExchange: @unchecked Sendable {
  let slicing: ContextSlicing
  /// Copies of what attention reads, by value of the follower's program: `[rows, width]`.
  private let inputs: [HostBuffer?]
  /// Attention's outputs and log-sum-exps, by context slice; the leader's come first.
  private let outputs: [HostBuffer]
  private let logSumExps: [HostBuffer]
  let followers: [Inbox<FollowerWork>]
  /// With each follower.
  let borders: [SliceBorder]
  private let answers: [Inbox<DeviceError?>]

  /// - Parameters:
  ///   - leaderWake: wakes the leader's thread.
  ///   - node: of the leader.
  init(
    _ slicing: ContextSlicing, sliceCount: Int, rowCountMax: Int, leaderWake: WakeSignal, node: Int
  ) throws(TopologyError) {
    self.slicing = slicing
    var inputs = [HostBuffer?](repeating: nil, count: slicing.follower.values.count)
    for part in slicing.merges.flatMap(\.handOver) where inputs[part.follower.index] == nil {
      inputs[part.follower.index] = try HostBuffer(count: rowCountMax * part.width, node: node)
    }
    self.inputs = inputs
    let heads = slicing.merges.map(\.heads).max() ?? 0
    let columns = slicing.merges.map { $0.heads * $0.width }.max() ?? 0
    (outputs, logSumExps) = try Self.buffers(
      count: sliceCount, sizes: (rowCountMax * columns, rowCountMax * heads), node: node)
    // On the way can be a `begin` and an `attend`, or a `begin`, an `abandon` and a `stop`.
    followers = (1..<sliceCount).map { _ in Inbox(capacity: 4, wake: WakeSignal()) }
    borders = followers.map { _ in SliceBorder() }
    answers = (1..<sliceCount).map { _ in Inbox(capacity: 1, wake: leaderWake) }
  }

  private static func buffers(
    count: Int, sizes: (Int, Int), node: Int
  ) throws(TopologyError) -> ([HostBuffer], [HostBuffer]) {
    var buffers: ([HostBuffer], [HostBuffer]) = ([], [])
    for _ in 0..<count {
      buffers.0.append(try HostBuffer(count: sizes.0, node: node))
      buffers.1.append(try HostBuffer(count: sizes.1, node: node))
    }
    return buffers
  }

  var notes: [String] { (inputs.compactMap { $0 } + outputs + logSumExps).compactMap(\.note) }

  // MARK: Leader

  func send(_ work: FollowerWork) {
    for follower in followers { follower.put(work) }
  }

  /// Waits for what all followers say of an attention; the first failure, if there is one.
  func awaitAnswers() -> DeviceError? { answers.map { $0.take() }.compactMap { $0 }.first }

  /// Runs one attention on all slices and puts the merge in the place of the leader's output.
  func attend(_ index: Int, rows: Int, device: any Device) throws(DeviceError) {
    let merge = slicing.merges[index]
    for part in merge.handOver {
      guard let input = inputs[part.follower.index] else { continue }
      try device.read(part.leader, into: input.prefix(rows * part.width))
    }
    send(.attend(index, isDirect: false))
    let own = Result { () throws(DeviceError) in
      try device.run(merge.operation..<merge.operation + 1)
      try read(merge, slice: 0, rows: rows, from: device, merge.output, merge.logSumExp)
    }
    // The followers' answers give the buffers back, so they are awaited even after a failure.
    let failure = awaitAnswers()
    try own.get()
    if let failure { throw failure }
    let merged = outputs[0].prefix(rows * merge.heads * merge.width)
    guard let first = merged.baseAddress else { return }
    mergeByLogSumExp(
      zip(outputs, logSumExps).compactMap(PartialAttention.init), rows: rows, heads: merge.heads,
      width: merge.width, into: first)
    try device.write(merge.output, from: UnsafeBufferPointer(merged))
  }

  // MARK: Follower

  /// Runs one attention over the follower's own keys, and answers.
  func follow(_ index: Int, slice: Int, rows: Int, device: any Device) throws(DeviceError) {
    let merge = slicing.merges[index]
    for part in merge.handOver {
      guard let input = inputs[part.follower.index] else { continue }
      try device.write(
        part.follower, from: UnsafeBufferPointer(input.prefix(rows * part.width)))
    }
    try device.run(index..<index + 1)
    try read(
      merge, slice: slice, rows: rows, from: device, merge.followerOutput, merge.followerLogSumExp)
  }

  func answer(_ failure: DeviceError?, slice: Int) { answers[slice - 1].put(failure) }

  private func read(
    _ merge: MergePoint, slice: Int, rows: Int, from device: any Device, _ output: ValueID,
    _ logSumExp: ValueID
  ) throws(DeviceError) {
    try device.read(output, into: outputs[slice].prefix(rows * merge.heads * merge.width))
    try device.read(logSumExp, into: logSumExps[slice].prefix(rows * merge.heads))
  }
}

extension PartialAttention {
  fileprivate init?(_ output: HostBuffer, _ logSumExp: HostBuffer) {
    guard let output = output.floats.baseAddress, let logSumExp = logSumExp.floats.baseAddress
    else { return nil }
    self.init(output: UnsafePointer(output), logSumExp: UnsafePointer(logSumExp))
  }
}
