// SPDX-License-Identifier: Apache-2.0

internal import Device
internal import Program
internal import Slicing
internal import Step

/// Work for the leader of a stage.
enum StageWork: Sendable {
  case step(MicroBatch)
  case stop
}

/// Drives one stage's device through steps: the loop of a leader. Confined to its executor.
struct StageRunner {
  let device: any Device
  /// The device, if it is one.
  let drawer: (any TokenDrawer)?
  let program: Program
  /// How hidden values cross without the host; nil if the device cannot.
  let crossing: StageCrossing?
  /// The followers of this stage; nil if its keys are in one part.
  let exchange: ContextExchange?
  /// How it exchanges with them without the host; nil if through it.
  let slices: SliceCrossing?
  let inbox: Inbox<StageWork>
  /// The next stage's inbox, or the engine's.
  let outbox: Inbox<StageWork>
  let pulse: Pulse

  /// Takes steps until told to stop. After a failure of the device none is computed any more: each
  /// is handed on with that failure.
  func runUntilStopped() {
    var poison: DeviceError?
    while case .step(let batch) = inbox.take() {
      pulse.beginStep()
      batch.failure = batch.failure ?? poison
      if batch.failure == nil {
        do {
          try run(batch)
        } catch {
          poison = error
          batch.failure = error
          pulse.failed(error.message)
          exchange?.send(.abandon)
        }
      }
      batch.endTime = pulse.endStep()
      hand(on: batch)
    }
    exchange?.send(.stop)
    outbox.put(.stop)
  }

  private func hand(on batch: MicroBatch) {
    // Taken before the batch is its reader's.
    guard let observer = batch.observer else { return outbox.put(.step(batch)) }
    outbox.putSilently(.step(batch))
    observer.stepEnded()
  }

  private func run(_ batch: MicroBatch) throws(DeviceError) {
    let plan = batch.plan
    let rows = plan.rowCount
    try device.begin(plan)
    if case .hidden(let value) = program.input { try receive(value, of: batch, rows: rows) }
    try runOperations(plan)
    switch program.output {
    case .hidden(let value): try send(value, of: batch, rows: rows)
    case .logits(let value):
      if plan.outputCount > 0 { try readOutputs(value, into: batch) }
    }
  }

  /// Tokens where the batch has draws, and logits where it has none.
  private func readOutputs(_ value: ValueID, into batch: MicroBatch) throws(DeviceError) {
    let draws = batch.draws.rows
    guard let drawer, draws.contains(where: { $0 != nil }) else {
      return try device.read(value, into: batch.logits)
    }
    try drawer.draw(value, batch.draws, into: batch.tokens, reports: batch.reports)
    var start = 0
    while let first = draws[start...].firstIndex(where: { $0 == nil }) {
      start = draws[first...].firstIndex { $0 != nil } ?? draws.count
      try drawer.read(value, rows: first..<start, into: batch.logits(of: first..<start))
    }
  }

  private func receive(
    _ value: ValueID, of batch: MicroBatch, rows: Int
  ) throws(DeviceError) {
    if batch.isOnDevice, let crossing, let handoff = crossing.incoming {
      return try crossing.device.receive([value], from: handoff, place: batch.place)
    }
    let hidden = batch.hidden.prefix(rows * program[value].width)
    try device.write(value, from: UnsafeBufferPointer(hidden))
  }

  private func send(
    _ value: ValueID, of batch: MicroBatch, rows: Int
  ) throws(DeviceError) {
    guard let crossing, let handoff = crossing.outgoing else {
      batch.isOnDevice = false
      return try device.read(value, into: batch.hidden.prefix(rows * program[value].width))
    }
    batch.isOnDevice = true
    try crossing.device.send([value], to: handoff, place: batch.place)
  }

  private func runOperations(_ plan: StepPlan) throws(DeviceError) {
    var next = 0
    if let exchange, !exchange.slicing.merges.isEmpty {
      exchange.send(.begin(plan))
      for (index, merge) in exchange.slicing.merges.enumerated() {
        if next < merge.operation { try device.run(next..<merge.operation) }
        if let slices {
          try exchange.attend(index, over: slices)
        } else {
          try exchange.attend(index, rows: plan.rowCount, device: device)
        }
        next = merge.operation + 1
      }
    }
    if next < program.operations.count { try device.run(next..<program.operations.count) }
  }
}

/// Drives the device of a context slice other than the first: attention alone, when its leader
/// says so. Confined to its executor.
struct FollowerRunner {
  let device: any Device
  let slice: Int
  let exchange: ContextExchange
  /// The way without the host, if there is one.
  let crossing: SliceCrossing?
  let pulse: Pulse

  func runUntilStopped() {
    var poison: DeviceError?
    var rows = 0
    while true {
      switch exchange.followers[slice - 1].take() {
      case .stop:
        return
      case .begin(let plan):
        pulse.beginStep()
        rows = plan.rowCount
        poison = poison ?? attempt { () throws(DeviceError) in try device.begin(plan) }
      case .attend(let index, let isDirect):
        poison =
          poison
          ?? attempt { () throws(DeviceError) in
            if isDirect, let crossing {
              try exchange.follow(index, over: crossing)
            } else {
              try exchange.follow(index, slice: slice, rows: rows, device: device)
            }
          }
        if index == exchange.slicing.merges.count - 1 { pulse.endStep() }
        exchange.answer(poison, slice: slice)
      case .abandon:
        pulse.endStep()
      }
    }
  }

  private func attempt(_ body: () throws(DeviceError) -> Void) -> DeviceError? {
    do {
      try body()
      return nil
    } catch {
      pulse.failed(error.message)
      return error
    }
  }
}
