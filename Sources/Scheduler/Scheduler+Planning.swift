// SPDX-License-Identifier: Apache-2.0

import Cache
package import Step
import Support

extension Scheduler {
  /// The next step: sequences that decode first, then chunks of prompts, then new sequences as far
  /// as there is room. Nil when `planInFlightMax` plans are under way, or nothing can go on before
  /// one of them is complete.
  package mutating func plan(now: Nanoseconds) -> StepPlan? {
    expire(now: now)
    guard inFlight.count < configuration.planInFlightMax else { return nil }
    registerComputed()
    hasPreempted = false
    var draft = PlanDraft(id: nextPlanID, now: now)
    planDecodes(&draft)
    planPrefills(&draft)
    admit(&draft)
    guard !draft.plan.sequences.isEmpty else { return nil }
    nextPlanID += 1
    inFlight.append(PlanInFlight(id: draft.plan.id, entries: draft.entries))
    return draft.plan
  }

  /// Adds sequences that need one row for their next token, those planned longest ago first. With
  /// several plans under way each takes its share, so that every stage has work.
  private mutating func planDecodes(_ draft: inout PlanDraft) {
    var ready: [(lastPlan: UInt64, slot: Int)] = []
    var decodingCount = 0
    for slot in running.slots where sequences[slot].isDecoding {
      decodingCount += 1
      if sequences[slot].remainingCount > 0 { ready.append((sequences[slot].lastPlan, slot)) }
    }
    let plans = configuration.planInFlightMax
    let share = min((decodingCount + plans - 1) / plans, configuration.rowCountMax)
    // The place in the batch decides between equals, as sorting may not keep their order.
    let order = ready.indices.sorted {
      (ready[$0].lastPlan, $0) < (ready[$1].lastPlan, $1)
    }
    for index in order where draft.rowCount < share {
      let slot = ready[index].slot
      // A sequence before it may have taken its blocks.
      guard sequences[slot].isRunning, sequences[slot].isDecoding else { continue }
      if reserve(slot, tokens: sequences[slot].plannedCount + 1) { add(slot, rows: 1, to: &draft) }
    }
  }

  /// Adds the next chunks of prompts in the batch, best rank first.
  private mutating func planPrefills(_ draft: inout PlanDraft) {
    let prefilling = running.slots.filter { !sequences[$0].isDecoding }
    for slot in prefilling where sequences[slot].isRunning {
      guard chunkRows(draft) > 0 else { return }
      planChunk(slot, &draft)
    }
  }

  /// Takes sequences from the head of the queue into the batch while their tokens have room beside
  /// those of the batch. Nobody passes the head, so it cannot starve.
  private mutating func admit(_ draft: inout PlanDraft) {
    while !hasPreempted, chunkRows(draft) > 0, running.count < configuration.sequenceCountMax,
      let slot = waiting.first, makeRoom(forJoining: slot)
    {
      join(slot, now: draft.now)
      planChunk(slot, &draft)
    }
  }

  /// Rows left in the draft for prompts.
  private func chunkRows(_ draft: PlanDraft) -> Int {
    min(
      configuration.prefillChunkMax - draft.prefillRowCount,
      configuration.rowCountMax - draft.rowCount)
  }

  private mutating func planChunk(_ slot: Int, _ draft: inout PlanDraft) {
    reusePrefix(slot)
    let rows = fittingRows(slot, draft)
    guard rows > 0, !waitsForPrefix(slot) else { return }
    guard reserve(slot, tokens: sequences[slot].plannedCount + rows) else { return }
    add(slot, rows: rows, to: &draft)
    draft.prefillRowCount += rows
  }

  /// Rows of a sequence's next chunk: bounded by the step's rows and by its outputs.
  private func fittingRows(_ slot: Int, _ draft: PlanDraft) -> Int {
    let remaining = sequences[slot].remainingCount
    let rows = min(remaining, chunkRows(draft))
    let outputsLeft = configuration.outputCountMax - draft.outputCount
    if sequences[slot].isScoring { return min(rows, outputsLeft) }
    return rows == remaining && outputsLeft == 0 ? rows - 1 : rows
  }

  /// Whether a sequence before it in the batch is about to compute the same next block, as with
  /// several choices of one prompt. It is cheaper to wait for it than to compute it twice.
  private func waitsForPrefix(_ slot: Int) -> Bool {
    let state = sequences[slot]
    let end = state.plannedCount + configuration.blockTokens
    guard configuration.reusesPrefixes, !state.isScoring, state.inFlightCount == 0,
      state.table.isIndexable,
      state.plannedCount == state.table.blocks.count * configuration.blockTokens,
      end < state.tokens.count
    else { return false }
    for other in running.slots {
      if other == slot { return false }
      let leader = sequences[other]
      if leader.table.isIndexable, leader.computedCount < end, leader.tokens.count >= end,
        leader.tokens[..<end] == state.tokens[..<end]
      {
        return true
      }
    }
    return false
  }

  private mutating func add(_ slot: Int, rows: Int, to draft: inout PlanDraft) {
    let first = sequences[slot].plannedCount
    let end = first + rows
    let isLast = end == sequences[slot].tokens.count
    let outputs: OutputRows = sequences[slot].isScoring ? .all : isLast ? .last : .none
    draft.entries.append(.init(slot: slot, rowCount: rows, hasToken: outputs == .last))
    draft.outputCount += outputs == .all ? rows : outputs == .last ? 1 : 0
    draft.plan.sequences.append(
      StepSequence(
        id: sequences[slot].id, rows: draft.rowCount..<draft.rowCount + rows,
        firstPosition: first, blocks: sequences[slot].table.blocks,
        outputs: outputs))
    draft.plan.tokens.append(contentsOf: sequences[slot].tokens[first..<end])
    sequences[slot].plannedCount = end
    sequences[slot].inFlightCount += 1
    sequences[slot].lastPlan = draft.plan.id
    if sequences[slot].firstStepTime == nil { sequences[slot].firstStepTime = draft.now }
  }
}

/// A plan being made.
struct PlanDraft {
  var plan: StepPlan
  var entries: [PlanInFlight.Entry] = []
  var prefillRowCount = 0
  var outputCount = 0
  let now: Nanoseconds

  init(id: UInt64, now: Nanoseconds) {
    plan = StepPlan(id: id, tokens: [], sequences: [])
    self.now = now
  }

  var rowCount: Int { plan.tokens.count }
}
