// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Support
internal import Synchronization

/// The generations of one poller that can be resumed, on a stream or not.
///
/// One without a stream goes on generating until its unsent tokens fill its window, and ends when
/// its time is over. One that has ended is kept for that time too, as its last frames may have been
/// lost with the stream. Confined to the poller.
final class ResumableGenerations: @unchecked Sendable {  // touched on the poller only
  private let directory: ResumeDirectory
  /// Generations without a stream, at most.
  private let countMax: Int
  private let sessions: SessionRegistry
  private let statistics: LaneStatistics
  private var generations: [String: SessionGeneration] = [:]
  private var detachedCount = 0 {
    didSet { statistics.generationsDetached.store(detachedCount, ordering: .relaxed) }
  }

  init(
    directory: ResumeDirectory, countMax: Int, sessions: SessionRegistry,
    statistics: LaneStatistics
  ) {
    self.directory = directory
    self.countMax = countMax
    self.sessions = sessions
    self.statistics = statistics
  }

  /// From now on it can be resumed.
  func add(_ generation: SessionGeneration, on lane: Lane) {
    guard let token = generation.resumption?.token else { return }
    generations[token] = generation
    directory.set(token, to: lane)
  }

  /// It has lost its stream, or has said all. False if it cannot be resumed.
  func detach(_ generation: SessionGeneration) -> Bool {
    guard let resumption = generation.resumption, generations[resumption.token] != nil else {
      return false
    }
    if detachedCount >= countMax { endOldest() }
    generation.detach()
    generation.expiry = Clock.nowNanoseconds + resumption.time
    detachedCount += 1
    return true
  }

  /// Gives a generation to a stream of the same tenant that resumes it, if the frames after that
  /// number are kept. The stream that had it is told.
  func release(
    _ token: String, after number: UInt64, to tenant: Tenant?
  ) throws(ServingError) -> SessionGeneration {
    guard let generation = generations[token], generation.tenant === tenant else {
      throw Self.unknown
    }
    try generation.checkReplay(after: number)
    if let stream = generation.stream {
      stream.lose(generation)
    } else {
      detachedCount -= 1
    }
    return generation
  }

  /// It has gone to another poller.
  func remove(_ generation: SessionGeneration) {
    if let token = generation.resumption?.token { generations[token] = nil }
  }

  /// Ends those whose time is over.
  func expire(now: Nanoseconds) {
    for generation in generations.values {
      if let expiry = generation.expiry, expiry <= now { end(generation) }
    }
  }

  /// Ends those that have no stream.
  func endDetached() { expire(now: .max) }

  private func endOldest() {
    let detached = generations.values.filter { $0.expiry != nil }
    if let oldest = detached.min(by: { ($0.expiry ?? 0) < ($1.expiry ?? 0) }) { end(oldest) }
  }

  private func end(_ generation: SessionGeneration) {
    guard let token = generation.resumption?.token else { return }
    generations[token] = nil
    directory.remove(token)
    detachedCount -= 1
    generation.abandon()
    sessions.generationEnded(generation)
  }

  static let unknown = ServingError(
    .notFound,
    "resume.token names no generation that can be resumed here: its time is over, or it never was",
    reason: "UNKNOWN_GENERATION", field: "resume.token")
}
