// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import Messages
internal import RPC
internal import Support
internal import Synchronization

extension Silica_V1_GetStatisticsResponse {
  /// The counts of all pollers, and the engine's.
  init(_ lanes: [Lane], load: EngineLoad, callsOpen: Int) {
    self.init()
    self.load = Silica_V1_Load(load)
    kvBlocksUsed = UInt64(load.kvBlocksUsed)
    kvBlocks = UInt64(load.kvBlockCount)
    steps = load.stepCount
    self.callsOpen = UInt64(callsOpen)
    var latencies = LatencyHistogram()
    for lane in lanes {
      latencies.add(lane.poller.handOverLatency)
      let lane = lane.dispatcher.statistics
      generationsBegun += lane.generationsBegun.load(ordering: .relaxed)
      generationsEnded += lane.generationsEnded.load(ordering: .relaxed)
      generationsDetached += UInt64(lane.generationsDetached.load(ordering: .relaxed))
      tokens += lane.tokens.load(ordering: .relaxed)
      tokenMessages += lane.messages.load(ordering: .relaxed)
    }
    sendLatency = Silica_V1_Latency(latencies)
  }
}

extension Silica_V1_Load {
  init(_ load: EngineLoad) {
    self.init()
    running = UInt32(clamping: load.running)
    waiting = UInt32(clamping: load.waiting)
    paused = UInt32(clamping: load.paused)
    kvUsed = Float(load.kvBlocksUsed) / Float(max(1, load.kvBlockCount))
  }
}

extension Silica_V1_Latency {
  fileprivate init(_ histogram: LatencyHistogram) {
    self.init()
    count = histogram.count
    p50Us = histogram.quantile(0.5) / 1_000
    p90Us = histogram.quantile(0.9) / 1_000
    p99Us = histogram.quantile(0.99) / 1_000
    maxUs = histogram.max / 1_000
  }
}
