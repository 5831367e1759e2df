// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Support
internal import Topology

/// What an executor's thread says to whoever starts and stops it.
enum ExecutorReport: Sendable {
  /// With what is worth saying of how it was loaded, one sentence each.
  case loaded(seat: Int, drawing: DrawingSkill, notes: [String])
  case failed(seat: Int, DeviceError)
  /// Comes last, after `failed` too.
  case ended(seat: Int)
}

/// The thread `exec-N`: makes the device of its seat, loads it, and drives it until told to stop.
/// The device lives and dies on this thread.
struct ExecutorThread: Sendable {
  enum Role: Sendable {
    case leader(Leader)
    case follower(ContextExchange)
  }

  struct Leader {
    let inbox: Inbox<StageWork>
    /// The next stage's inbox, or the engine's.
    let next: Inbox<StageWork>
    let exchange: ContextExchange?
    /// With the stages before and after; nil at either end.
    let before, after: StageBorder?
    let microBatchCount: Int
  }

  let seat: DeviceSeat
  let program: Program
  let capacity: DeviceCapacity
  let role: Role
  let weights: any WeightSource
  let devices: DeviceFactory
  let pulse: Pulse
  let reports: MPSCRing<ExecutorReport>
  let reportWake: WakeSignal
  let progress: @Sendable (LoadProgress) -> Void

  var name: String { "exec-\(seat.index)" }

  func start() -> PinnedThread {
    PinnedThread(name: name, cpus: seat.cpus.prefix(1).map { $0 }) { self.run() }
  }

  private func run() {
    // Best effort: without it, first touch on this pinned thread does nearly the same.
    _ = NodeMemory.preferForThread(node: seat.node)
    do {
      let device = try load()
      let crossings = try meet(device)
      pulse.loaded(device: device.summary)
      report(
        .loaded(
          seat: seat.index, drawing: DrawingSkill(device),
          notes: [device.note, crossings.stages?.note, crossings.slicesNote].compactMap { $0 }))
      drive(device, crossings)
    } catch {
      pulse.failed(error.message)
      report(.failed(seat: seat.index, error))
      // The others still send their work through, and the end of it.
      passThrough()
    }
    report(.ended(seat: seat.index))
  }

  private func load() throws(DeviceError) -> any Device {
    do throws(DeviceError) { return try loadedDevice() } catch {
      switch role {
      case .leader(let leader):
        leader.before?.put(nil)
        SliceBorder.leave(leader.exchange?.borders ?? [])
      case .follower(let exchange):
        exchange.borders[seat.contextSlice - 1].decline()
      }
      throw error
    }
  }

  private func loadedDevice() throws(DeviceError) -> any Device {
    let total = try storedBytes()
    let device = try devices(seat)
    try device.load(program, from: weights, capacity: capacity) { loaded in
      progress(LoadProgress(seat: seat.index, loadedBytes: loaded, totalBytes: total))
    }
    return device
  }

  /// Bytes of the program's weights in the checkpoint; throws if one is missing.
  private func storedBytes() throws(DeviceError) -> Int {
    var bytes = 0
    for weight in program.weights {
      do {
        bytes += try weights.tensor(weight).bytes.count
      } catch {
        throw DeviceError(.failedPrecondition, error.message)
      }
    }
    return bytes
  }

  /// How values come to the device from others and go to them, other than by the host.
  private struct Crossings {
    var stages: StageCrossing?
    var slices: SliceCrossing?
    /// How context slices exchange, in words.
    var slicesNote: String?
  }

  /// Meets the executors that values come from and go to. Waits until they are loaded.
  private func meet(_ device: any Device) throws(DeviceError) -> Crossings {
    switch role {
    case .follower(let exchange):
      let border = exchange.borders[seat.contextSlice - 1]
      return Crossings(slices: try border.follow(device, exchange.slicing))
    case .leader(let leader):
      var crossings = Crossings()
      do throws(DeviceError) {
        crossings.stages = try StageCrossing(
          device, program, places: leader.microBatchCount, before: leader.before,
          after: leader.after)
      } catch {
        SliceBorder.leave(leader.exchange?.borders ?? [])
        throw error
      }
      guard let exchange = leader.exchange,
        let way = try SliceBorder.lead(device, exchange.slicing, exchange.borders)
      else { return crossings }
      crossings.slices = way.crossing
      crossings.slicesNote = "context slices of stage \(seat.stage): \(way.words)"
      return crossings
    }
  }

  private func drive(_ device: any Device, _ crossings: Crossings) {
    switch role {
    case .leader(let leader):
      StageRunner(
        device: device, drawer: device as? any TokenDrawer, program: program,
        crossing: crossings.stages, exchange: leader.exchange, slices: crossings.slices,
        inbox: leader.inbox, outbox: leader.next, pulse: pulse
      ).runUntilStopped()
    case .follower(let exchange):
      FollowerRunner(
        device: device, slice: seat.contextSlice, exchange: exchange, crossing: crossings.slices,
        pulse: pulse
      ).runUntilStopped()
    }
  }

  /// After a failed load nothing but `.stop` comes.
  private func passThrough() {
    switch role {
    case .leader(let leader):
      while case .step = leader.inbox.take() {}
      leader.exchange?.send(.stop)
      leader.next.put(.stop)
    case .follower(let exchange):
      while true {
        if case .stop = exchange.followers[seat.contextSlice - 1].take() { return }
      }
    }
  }

  private func report(_ report: ExecutorReport) {
    check(reports.tryPush(report), "the ring of executor reports is full")
    reportWake.notify()
  }
}
