// SPDX-License-Identifier: Apache-2.0

package import Executor
package import Program
internal import Scheduler
internal import Slicing
internal import Support
package import Topology

extension Engine {
  /// Cuts the model, places its parts, loads every device on its own thread, and starts to step.
  /// Returns when all are ready. `progress` is called on the executors' threads.
  package static func start(
    _ program: Program, from weights: any WeightSource, devices: @escaping DeviceFactory,
    configuration: EngineConfiguration, topology: Topology,
    progress: @escaping @Sendable (LoadProgress) -> Void = { _ in }
  ) throws(EngineError) -> Engine {
    try configuration.validate()
    let plan = try slicePlan(program, configuration)
    let placement = Placement(
      topology: topology, deviceCount: plan.executorCount,
      threadsPerDevice: configuration.threadsPerDevice)
    let scheduler = try schedulerConfiguration(
      program, configuration, plan: plan, availableBytes: topology.availableMemoryBytes)
    let pipeline = PipelineConfiguration(
      plan: plan, vocabularySize: program.vocabularySize, placement: placement, weights: weights,
      devices: devices, rowCountMax: scheduler.rowCountMax,
      outputCountMax: scheduler.outputCountMax, blockCount: scheduler.blockCount,
      blockTokens: scheduler.blockTokens, microBatchCount: scheduler.planInFlightMax)
    let wake = WakeSignal()
    do {
      return Engine(
        scheduler: Scheduler(scheduler),
        pipeline: try Pipeline.start(pipeline, resultWake: wake, progress: progress), wake: wake,
        configuration: configuration, plan: plan, placement: placement,
        notes: topology.notes)
    } catch {
      throw EngineError(error)
    }
  }

  private static func slicePlan(
    _ program: Program, _ configuration: EngineConfiguration
  ) throws(EngineError) -> SlicePlan {
    do {
      return try SlicePlan(
        program, stages: configuration.stages, contextSlices: configuration.contextSlices,
        costModel: configuration.costModel)
    } catch {
      throw EngineError(error)
    }
  }

  private static func schedulerConfiguration(
    _ program: Program, _ configuration: EngineConfiguration, plan: SlicePlan, availableBytes: Int
  ) throws(EngineError) -> SchedulerConfiguration {
    let contextLength = min(configuration.contextLength ?? .max, program.contextLength)
    let budget = KVBudget(program, configuration, contextLength: contextLength)
    var scheduler = SchedulerConfiguration(
      vocabularyCount: program.vocabularySize, contextLength: contextLength,
      blockTokens: configuration.blockTokens,
      blockCount: try budget.blocksPerSlice(
        configuration, plan: plan, availableBytes: availableBytes))
    scheduler.contextSlices = configuration.contextSlices
    scheduler.rowCountMax = configuration.rowCountMax
    scheduler.prefillChunkMax = configuration.rowCountMax
    scheduler.sequenceCountMax = configuration.batchMax
    scheduler.outputCountMax = configuration.outputCountMax ?? configuration.batchMax
    scheduler.reusesPrefixes = configuration.reusesPrefixes
    scheduler.planInFlightMax = configuration.stages
    // The engine's gate has refused what is too much before the scheduler sees it.
    scheduler.waitingCountMax = .max
    scheduler.waitingPromptTokensMax = .max
    return scheduler
  }
}

extension EngineConfiguration {
  fileprivate func validate() throws(EngineError) {
    try Self.require(batchMax, "max_batch", atLeast: 1)
    try Self.require(rowCountMax, "max_rows", atLeast: 1)
    try Self.require(blockTokens, "block_tokens", atLeast: 1)
    try Self.require(cacheBytesPerToken ?? 1, "cache_bytes_per_token", atLeast: 1)
    try Self.require(contextLength ?? 2, "context_length", atLeast: 2)
    try Self.require(outputCountMax ?? batchMax, "max_outputs", atLeast: batchMax)
    try Self.require(threadsPerDevice ?? 1, "threads", atLeast: 1)
    try Self.require(waitingSequencesMax, "max_waiting", atLeast: 1)
    try Self.require(waitingPromptTokensMax, "max_waiting_prompt_tokens", atLeast: 1)
  }

  private static func require(
    _ value: Int, _ name: String, atLeast bound: Int
  ) throws(EngineError) {
    guard value < bound else { return }
    throw EngineError(.invalidArgument, "\(name) is \(value); expected \(bound) or more")
  }
}
