// SPDX-License-Identifier: Apache-2.0

package import Device
internal import Slicing
package import Step
package import Support
internal import Topology

/// All executors of an engine: stages in a row, each with its context slices, and a fixed number
/// of micro-batches that go round.
///
/// `hasRoom`, `dispatch`, `nextResult` and `recycle` belong to the engine: one thread at a time, as
/// a lock of the engine orders it. `start` and `shutdown` belong to whoever owns the engine.
package final class Pipeline: @unchecked Sendable {
  // `free` is guarded by the engine's lock; the rest is immutable or made for sharing.

  private let first: Inbox<StageWork>
  private let results: Inbox<StageWork>
  private var free: [MicroBatch]
  private let pulses: [Pulse]
  private let threads: [PinnedThread]
  private let reports: MPSCRing<ExecutorReport>
  private let reportWake: WakeSignal
  /// Written while devices are loaded.
  private var drawing = DrawingSkill.none
  /// What devices said of how they were loaded, and how hidden values get from stage to stage, in
  /// order of the stages. Written while they are loaded.
  package private(set) var deviceNotes: [String] = []
  /// What could not be placed as asked for, one sentence each.
  package let notes: [String]

  /// Starts all threads and returns when every device is loaded.
  ///
  /// - Parameters:
  ///   - resultWake: wakes the engine's thread when a result is there.
  ///   - progress: called on the executors' threads.
  package static func start(
    _ configuration: PipelineConfiguration, resultWake: WakeSignal,
    progress: @escaping @Sendable (LoadProgress) -> Void
  ) throws(DeviceError) -> Pipeline {
    do {
      let pipeline = try Pipeline(configuration, resultWake: resultWake, progress: progress)
      try pipeline.awaitLoaded()
      return pipeline
    } catch let error as DeviceError {
      throw error
    } catch let error as TopologyError {
      throw DeviceError(error.code, error.message)
    } catch {
      throw DeviceError(.internal, "\(error)")
    }
  }

  private init(
    _ configuration: PipelineConfiguration, resultWake: WakeSignal,
    progress: @escaping @Sendable (LoadProgress) -> Void
  ) throws(TopologyError) {
    let plan = configuration.plan
    // Every micro-batch, and the order to stop.
    let room = configuration.microBatchCount + 1
    let wakes = plan.stages.map { _ in WakeSignal() } + [resultWake]
    let inboxes = wakes.map { Inbox<StageWork>(capacity: room, wake: $0) }
    let seats = (0..<plan.executorCount).map(configuration.seat)
    let exchanges = try Self.exchanges(configuration, seats: seats, wakes: wakes)
    free = []
    for place in 0..<configuration.microBatchCount {
      free.append(
        try MicroBatch(
          place: place, hiddenCount: configuration.rowCountMax * configuration.hiddenWidthMax,
          outputCountMax: configuration.outputCountMax,
          vocabularySize: configuration.vocabularySize, node: seats[0].node))
    }
    (first, results) = (inboxes[0], inboxes[plan.stages.count])
    hasOneStage = plan.stages.count == 1
    notes = Self.distinct(free.flatMap(\.notes) + exchanges.flatMap { $0?.notes ?? [] })
    // `loaded` or `failed`, and `ended`, of each.
    let reports = MPSCRing<ExecutorReport>(capacity: 2 * seats.count)
    let reportWake = WakeSignal()
    let borders = (1..<max(1, plan.stages.count)).map { StageBorder(index: $0 - 1) }
    let executors = seats.map { seat in
      ExecutorThread(
        seat: seat, program: plan.program(stage: seat.stage, contextSlice: seat.contextSlice),
        capacity: configuration.capacity(seat),
        role: Self.role(
          seat, inboxes: inboxes, exchange: exchanges[seat.stage], borders: borders,
          microBatchCount: configuration.microBatchCount),
        weights: configuration.weights, devices: configuration.devices,
        pulse: Pulse(name: "exec-\(seat.index)"), reports: reports, reportWake: reportWake,
        progress: progress)
    }
    (self.reports, self.reportWake) = (reports, reportWake)
    pulses = executors.map(\.pulse)
    threads = executors.map { $0.start() }
  }

  private static func exchanges(
    _ configuration: PipelineConfiguration, seats: [DeviceSeat], wakes: [WakeSignal]
  ) throws(TopologyError) -> [ContextExchange?] {
    let sliceCount = configuration.plan.contextSlices
    var exchanges: [ContextExchange?] = []
    for (index, stage) in configuration.plan.stages.enumerated() {
      guard let slicing = stage.contextSlicing else {
        exchanges.append(nil)
        continue
      }
      exchanges.append(
        try ContextExchange(
          slicing, sliceCount: sliceCount, rowCountMax: configuration.rowCountMax,
          leaderWake: wakes[index], node: seats[index * sliceCount].node))
    }
    return exchanges
  }

  private static func role(
    _ seat: DeviceSeat, inboxes: [Inbox<StageWork>], exchange: ContextExchange?,
    borders: [StageBorder], microBatchCount: Int
  ) -> ExecutorThread.Role {
    if seat.contextSlice > 0, let exchange { return .follower(exchange) }
    return .leader(
      ExecutorThread.Leader(
        inbox: inboxes[seat.stage], next: inboxes[seat.stage + 1], exchange: exchange,
        before: seat.stage > 0 ? borders[seat.stage - 1] : nil,
        after: seat.stage < borders.count ? borders[seat.stage] : nil,
        microBatchCount: microBatchCount))
  }

  private static func distinct(_ notes: [String]) -> [String] {
    var seen = Set<String>()
    return notes.filter { seen.insert($0).inserted }
  }

  private func awaitLoaded() throws(DeviceError) {
    var failures: [(seat: Int, error: DeviceError)] = []
    var words: [(seat: Int, notes: [String])] = []
    for _ in threads {
      switch nextReport(until: nil) {
      case .failed(let seat, let error): failures.append((seat, error))
      case .loaded(let seat, let skill, let notes):
        drawing = skill
        words.append((seat, notes))
      case .ended, nil: break
      }
    }
    deviceNotes = words.sorted { $0.seat < $1.seat }.flatMap(\.notes)
    guard let failure = failures.min(by: { $0.seat < $1.seat }) else { return }
    shutdown(until: nil)
    throw failure.error
  }

  private func nextReport(until deadline: Nanoseconds?) -> ExecutorReport? {
    while true {
      if let report = reports.tryPop() { return report }
      if !reportWake.wait(until: deadline), let deadline, Clock.nowNanoseconds >= deadline {
        return reports.tryPop()
      }
    }
  }

  // MARK: Steps, for the engine

  /// Whether steps end on the thread that they begin on, so that this may do the engine's work
  /// between them.
  package let hasOneStage: Bool

  /// Whether another step may be dispatched now.
  package var hasRoom: Bool { !free.isEmpty }

  /// Sends a step on its way. There must be room.
  ///
  /// - Parameters:
  ///   - observer: told of its end in place of `resultWake`.
  ///   - draw: how a sequence's next token is drawn; nil: by who gets the logits. It writes what is
  ///     done to the logits before where there is room for that.
  package func dispatch(
    _ plan: StepPlan, observer: (any StepObserver)? = nil,
    draw: (SequenceID, UnsafeMutableBufferPointer<TokenAdjustment>) -> TokenDraw? = { _, _ in nil }
  ) {
    guard let batch = free.popLast() else {
      checkFailed("no micro-batch is free", file: #fileID, line: #line)
    }
    batch.take(plan) { [drawing] id, room in
      let room = drawing.adjusts ? room : UnsafeMutableBufferPointer(start: nil, count: 0)
      guard let draw = draw(id, room), drawing.makes(draw) else { return nil }
      return draw
    }
    batch.failure = nil
    batch.observer = observer
    first.put(.step(batch))
  }

  /// The oldest step that has come back, if any; in the order of dispatch. To be recycled.
  package func nextResult() -> MicroBatch? {
    guard case .step(let batch) = results.poll() else { return nil }
    batch.observer = nil
    return batch
  }

  package func recycle(_ batch: MicroBatch) { free.append(batch) }

  // MARK: Life

  /// Any thread.
  package var health: [ExecutorHealth] { pulses.map(\.health) }

  /// Lets the steps under way finish, then ends all threads. A device that does not come back by
  /// `deadline` on `Clock` is left behind with its thread. Returns whether all ended. Once.
  @discardableResult
  package func shutdown(until deadline: Nanoseconds?) -> Bool {
    first.put(.stop)
    var ended = Set<Int>()
    while ended.count < threads.count, let report = nextReport(until: deadline) {
      guard case .ended(let seat) = report else { continue }
      threads[seat].join()
      ended.insert(seat)
    }
    return ended.count == threads.count
  }
}
