// SPDX-License-Identifier: Apache-2.0

internal import Engine
internal import Messages
package import RPC
internal import Support
internal import Synchronization
internal import Wire

/// The services of a server, wired to one model: `silica.v1.Inference`, health and reflection.
///
/// `init`, `start`, now and then `refreshHealth`, then `stop`, from one thread at a time.
package final class InferenceServer: Sendable {
  private let server: Server
  private let model: ServedModel
  private let aux: AuxThread
  private let lanes: [Lane]
  private let health: HealthService
  private let drainState = DrainState()
  private let resumeDirectory = ResumeDirectory()
  private let loadClock: LoadClock
  private let isStopped = Atomic<Bool>(false)

  package init(
    _ configuration: ServerConfiguration, model: ServedModel, limits: ServingLimits,
    access: AccessControl? = nil, auxCPUs: [Int]
  ) {
    var configuration = configuration
    if let access { configuration.admit = { access.admit($0) } }
    let server = Server(configuration)
    let aux = AuxThread(capacity: limits.waitingPrompts, cpus: auxCPUs)
    let (drainState, resumeDirectory) = (drainState, resumeDirectory)
    self.server = server
    self.model = model
    self.aux = aux
    loadClock = LoadClock(interval: limits.loadInterval)
    health = HealthService(services: Self.services) {
      HealthReport(
        model.engine.load(), isDraining: drainState.isAnnounced.load(ordering: .acquiring),
        stepTimeMax: limits.stepTimeMax, stageCount: model.engine.configuration.stages)
    }
    lanes = server.pollers.map { poller in
      Lane(
        poller: poller, model: model, limits: limits, aux: aux, drain: drainState,
        directory: resumeDirectory)
    }
    register()
  }

  /// Listens and serves. On an error nothing is left behind but threads that `stop` ends.
  package func start() throws(RPCError) { try server.start() }

  /// Where it listens, with real ports.
  package var addresses: [Address] { server.addresses }

  /// Calls that are open now.
  package var activeCallCount: Int { server.activeCallCount }

  /// Looks how the engine is, tells those who watch health of a change and sessions of the load;
  /// ends generations that were not resumed in time. Call it about twice a second. It waits for
  /// nobody.
  package func refreshHealth() {
    let now = Clock.nowNanoseconds
    if loadClock.isDue(now: now) { tellLoad() }
    for lane in lanes where lane.dispatcher.statistics.hasDetached {
      // A poller with a full ring of jobs ends them at the next look.
      _ = lane.poller.submit { lane.resumable.expire(now: now) }
    }
    guard health.refresh() else { return }
    var areAllTold = true
    for lane in lanes {
      // A poller with a full ring of jobs hears of it at the next look.
      areAllTold = lane.poller.submit { lane.watchers.notify() } && areAllTold
    }
    if areAllTold { health.watchersAreTold() }
  }

  private func tellLoad() {
    let listening = lanes.filter { !$0.loadListeners.isEmpty }
    guard !listening.isEmpty else { return }
    let load = Silica_V1_Load(model.engine.load())
    // A poller with a full ring of jobs hears of the next one.
    for lane in listening { _ = lane.poller.submit { lane.loadListeners.tell(load) } }
  }

  /// Stops in the order that loses nothing: health says NOT_SERVING, and for `delay` nothing else
  /// changes; then sessions get `go_away`, new generations are refused, running ones may finish
  /// within `grace`; what is left then ends with a last frame of its own, and the server shuts
  /// down. Blocks; only the first call does something.
  package func stop(grace: Duration, after delay: Duration = .zero) {
    guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
    drainState.isAnnounced.store(true, ordering: .releasing)
    refreshHealth()
    wait(until: .now + delay) { false }
    drainState.isDraining.store(true, ordering: .releasing)
    // After this nothing begins: a generation that was let in a moment ago has been counted.
    onEveryLane { $0.sessions.goAway("the server is shutting down", grace: grace) }
    wait(until: .now + grace) { !drainState.hasGenerations }
    onEveryLane { lane in
      lane.sessions.endAll(DrainState.end)
      lane.resumable.endDetached()
      lane.watchers.endAll()
    }
    // Before connections are told to go away: C-core then closes each with its last call, and a
    // client may drop what it reads together with a close.
    let end = ContinuousClock.now + Self.lastFramesTime
    wait(until: end) { server.activeCallCount == 0 }
    server.shutdown(grace: max(.zero, end - .now))
    aux.stop()
  }

  /// Time for the last frames to reach clients that read slowly. What a client that does not read
  /// at all has not taken by then is lost to it.
  private static let lastFramesTime = Duration.seconds(5)

  /// Waits for a condition, while health is kept up to date.
  private func wait(until end: ContinuousClock.Instant, for condition: () -> Bool) {
    while ContinuousClock.now < end, !condition() {
      refreshHealth()
      pause(milliseconds: 20)
    }
  }

  private func pause(milliseconds: UInt64) {
    WakeSignal().wait(until: Clock.nowNanoseconds + milliseconds * 1_000_000)
  }

  /// Runs `body` for every lane on its poller, and returns when all are done.
  private func onEveryLane(_ body: @escaping @Sendable (Lane) -> Void) {
    let done = LaneCount()
    for lane in lanes {
      let job: Poller.Job = {
        body(lane)
        done.add()
      }
      // A poller with a full ring of jobs takes this one as soon as it has worked on the others.
      while !lane.poller.submit(job) { pause(milliseconds: 1) }
    }
    done.wait(for: lanes.count)
  }
}

/// Counts lanes that have done something.
private final class LaneCount: Sendable {
  private let count = Atomic<Int>(0)
  private let changed = WakeSignal()

  func add() {
    count.add(1, ordering: .acquiringAndReleasing)
    changed.notify()
  }

  /// One thread only.
  func wait(for expected: Int) {
    while count.load(ordering: .acquiring) < expected { changed.wait() }
  }
}

// MARK: - Methods

extension InferenceServer {
  private static let services = [
    Silica_V1_Inference.serviceName, Grpc_Health_V1_Health.serviceName,
    Grpc_Reflection_V1_ServerReflection.serviceName,
  ]

  private func register() {
    let lanes = Dictionary(
      uniqueKeysWithValues: lanes.map { (ObjectIdentifier($0.poller), $0) })
    let lane: @Sendable (ServerCall) -> Lane = { call in
      guard let lane = lanes[ObjectIdentifier(call.poller)] else {
        checkFailed("a call on an unknown poller", file: #fileID, line: #line)
      }
      return lane
    }
    let resumeDirectory = resumeDirectory
    server.register(path: Silica_V1_Inference.session.path) { call in
      SessionHandler(call: call, lane: lane(call), directory: resumeDirectory)
    }
    server.register(path: Silica_V1_Inference.generate.path) { call in
      GenerateHandler(call: call, lane: lane(call))
    }
    let description = model.description
    register(Silica_V1_Inference.getModel) { _ in description }
    registerStatistics()
    registerHealth(lane)
    registerReflection()
  }

  private func register<Request, Response>(
    _ method: MethodDescriptor<Request, Response>,
    answer: @escaping @Sendable (Request) throws(ServingError) -> Response
  ) {
    server.register(path: method.path) { call in
      UnaryHandler(method, call: call, answer: answer)
    }
  }

  private func registerStatistics() {
    let (server, engine) = (server, model.engine)
    let lanes = self.lanes
    register(Silica_V1_Inference.getStatistics) { _ in
      Silica_V1_GetStatisticsResponse(
        lanes, load: engine.load(), callsOpen: server.activeCallCount)
    }
  }

  private func registerHealth(_ lane: @escaping @Sendable (ServerCall) -> Lane) {
    let health = health
    register(Grpc_Health_V1_Health.check) { (request) throws(ServingError) in
      guard let status = health.status(of: request.service) else {
        throw ServingError(
          .notFound, "service '\(request.service.excerpt)' is not served here",
          reason: "UNKNOWN_SERVICE", field: "service")
      }
      return .with { $0.status = status }
    }
    server.register(path: Grpc_Health_V1_Health.watch.path) { call in
      HealthWatchHandler(call: call, health: health, watchers: lane(call).watchers)
    }
  }

  private func registerReflection() {
    let index = DescriptorIndex(services: Self.services, files: FileDescriptor.all)
    let paths = [
      Grpc_Reflection_V1_ServerReflection.serverReflectionInfo.path,
      // What many tools still ask first; its messages are those of v1.
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]
    for path in paths {
      server.register(path: path) { call in ReflectionHandler(call: call, index: index) }
    }
  }
}

extension ServedModel {
  /// What `GetModel` says.
  fileprivate var description: Silica_V1_GetModelResponse {
    .with { message in
      message.name = name
      message.architecture = architecture
      message.vocabularySize = UInt32(vocabularySize)
      message.contextLength = UInt32(contextLength)
      message.eosTokenIds = endTokens.map { UInt32(bitPattern: $0) }
      message.device = device
    }
  }
}
