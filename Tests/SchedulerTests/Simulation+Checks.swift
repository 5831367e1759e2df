// SPDX-License-Identifier: Apache-2.0

import Cache
import Scheduler
import Step

extension Simulation {
  /// Holds a plan to the limits and to what its sequences' clients know.
  mutating func check(_ plan: StepPlan) {
    var nextRow = 0
    var ids: Set<SequenceID> = []
    var promptRows = 0
    for sequence in plan.sequences {
      if sequence.rows.lowerBound != nextRow || sequence.rows.isEmpty { violate("rows have gaps") }
      nextRow = sequence.rows.upperBound
      if !ids.insert(sequence.id).inserted { violate("\(sequence.id) is in a plan twice") }
      check(sequence, of: plan)
      let end = sequence.firstPosition + sequence.rows.count
      let request = clients[Int(sequence.id.value)].request
      if end < request.prompt.count { promptRows += sequence.rows.count }
    }
    if nextRow != plan.rowCount { violate("rows without a sequence") }
    if plan.rowCount > configuration.rowCountMax { violate("\(plan.rowCount) rows") }
    if promptRows > configuration.prefillChunkMax { violate("\(promptRows) rows of prompts") }
    if plan.outputCount > configuration.outputCountMax { violate("\(plan.outputCount) outputs") }
    if plan.sequences.count > configuration.sequenceCountMax { violate("too many sequences") }
    if let last = trace.last, plan.id != last.id + 1 { violate("plan \(plan.id) after \(last.id)") }
  }

  private mutating func check(_ sequence: StepSequence, of plan: StepPlan) {
    let client = clients[Int(sequence.id.value)]
    if client.finish != nil || client.wasEnded { violate("\(sequence.id) runs after its end") }
    if client.isPaused { violate("\(sequence.id) runs while it is paused") }
    let known = client.request.prompt + client.tokens
    let end = sequence.firstPosition + sequence.rows.count
    guard end <= known.count else {
      violate("\(sequence.id) runs \(end) tokens of \(known.count)")
      return
    }
    if known[sequence.firstPosition..<end] != plan.tokens[sequence.rows] {
      violate("\(sequence.id) has other tokens")
    }
    let expected: OutputRows =
      client.request.isScoring ? .all : end == known.count ? .last : .none
    if sequence.outputs != expected { violate("\(sequence.id) has outputs \(sequence.outputs)") }
    let blockTokens = configuration.blockTokens
    if sequence.blocks.count != (end + blockTokens - 1) / blockTokens {
      violate("\(sequence.id) has \(sequence.blocks.count) blocks for \(end) tokens")
    }
    if sequence.blocks.contains(where: { $0 < 0 || Int($0) >= configuration.blockCount }) {
      violate("\(sequence.id) has unknown blocks")
    }
  }

  /// Holds the whole run to its promises.
  mutating func checkEnd() {
    let cache = scheduler.cache
    if cache.usedCount != 0 { violate("\(cache.usedCount) blocks are leaked") }
    for slice in 0..<configuration.contextSlices
    where cache.availableCount(slice: slice) != configuration.blockCount {
      violate("slice \(slice) has \(cache.availableCount(slice: slice)) blocks at the end")
    }
    if scheduler.load.running + scheduler.load.waiting > 0 { violate("queues are not empty") }
    for client in clients { check(client) }
  }

  private mutating func check(_ client: Client) {
    let id = client.request.id
    guard let (reason, account) = client.finish else {
      violate("\(id) has no end")
      return
    }
    let prompt = client.request.prompt
    if client.tokens != firstStage.continuation(of: prompt, count: client.tokens.count) {
      violate("\(id) has wrong tokens")
    }
    if account.promptTokens != prompt.count || account.generatedTokens != client.tokens.count
      || account.cachedTokens >= prompt.count
      || account.queueTime + account.prefillTime + account.decodeTime > now
    {
      violate("\(id) has a wrong account: \(account)")
    }
    let stopping = client.request.stopping
    let stop = client.tokens.indices.first {
      $0 >= stopping.minTokens && stopping.stopTokens.contains(client.tokens[$0])
    }
    let room = configuration.contextLength - prompt.count
    let cacheRoom = scheduler.cache.tokenCountMax - prompt.count + 1
    let maxTokens = min(stopping.maxTokens ?? cacheRoom, room)
    switch reason {
    case .stopToken(let token):
      if stop != client.tokens.count - 1 || client.tokens.last != token {
        violate("\(id): \(reason)")
      }
    case .length:
      let expected = client.request.isScoring ? 0 : min(maxTokens, cacheRoom)
      if stop != nil || client.tokens.count != expected { violate("\(id): \(reason)") }
    case .cancelled:
      if !client.wasEnded || stop != nil { violate("\(id): \(reason)") }
    case .deadline:
      if (client.request.deadline ?? .max) > now { violate("\(id): \(reason)") }
    case .failed:
      if !client.wasFailed { violate("\(id): \(reason)") }
    case .stopString:
      violate("\(id): \(reason)")
    }
  }
}
