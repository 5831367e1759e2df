// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Slicing

/// The exchange where values go from device to device: the threads only queue what devices do.
///
/// A device waits for what another sends, and for nothing that is not queued there yet: an
/// `.attend` follows what the leader has sent, and the merge the followers' answers. So a follower
/// that fails leaves no device waiting for it.
extension ContextExchange {
  /// Queues one attention on all slices, and their merge in the place of the leader's output.
  func attend(_ index: Int, over crossing: SliceCrossing) throws(DeviceError) {
    let merge = slicing.merges[index]
    let device = crossing.device
    let inputs = merge.handOver.map(\.leader)
    for handoff in crossing.outgoing { try device.send(inputs, to: handoff, place: index) }
    send(.attend(index, isDirect: true))
    let own = Result { () throws(DeviceError) in
      try device.run(merge.operation..<merge.operation + 1)
    }
    // Each `.attend` has an answer, so they are awaited even after a failure.
    let failure = awaitAnswers()
    try own.get()
    if let failure { throw failure }
    try device.merge(merge.output, merge.logSumExp, with: crossing.incoming, place: 0)
  }

  /// Queues one attention over the follower's own keys, between what comes and what goes back.
  func follow(_ index: Int, over crossing: SliceCrossing) throws(DeviceError) {
    let merge = slicing.merges[index]
    let device = crossing.device
    try device.receive(merge.handOver.map(\.follower), from: crossing.incoming[0], place: index)
    try device.run(index..<index + 1)
    try device.send(
      [merge.followerOutput, merge.followerLogSumExp], to: crossing.outgoing[0], place: 0)
  }
}
