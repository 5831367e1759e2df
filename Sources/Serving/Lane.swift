// SPDX-License-Identifier: Apache-2.0

internal import RPC
internal import Support

/// What each poller has of its own: its way to the engine, its calls, and its generations that can
/// be resumed. All but `poller` is touched on its thread only.
final class Lane: Sendable {
  let poller: Poller
  let dispatcher: Dispatcher
  let sessions: SessionRegistry
  let watchers = HealthWatchers()
  let loadListeners = LoadListeners()
  let resumable: ResumableGenerations

  init(
    poller: Poller, model: ServedModel, limits: ServingLimits, aux: AuxThread, drain: DrainState,
    directory: ResumeDirectory
  ) {
    self.poller = poller
    dispatcher = Dispatcher(model: model, limits: limits, poller: poller, aux: aux)
    sessions = SessionRegistry(drain: drain, statistics: dispatcher.statistics)
    resumable = ResumableGenerations(
      directory: directory, countMax: limits.detachedGenerations, sessions: sessions,
      statistics: dispatcher.statistics)
  }
}
