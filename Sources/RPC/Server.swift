// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Support
internal import Synchronization

/// A gRPC server: it listens, accepts calls on its pollers, and gives each to the handler of its
/// method.
///
/// `init`, `register`, `start`, then `shutdown`, from one thread that is not a poller. A server
/// that was made must be shut down, started or not.
package final class Server: @unchecked Sendable {  // fixed at start, but for the atomics
  package typealias Accept = @Sendable (ServerCall) -> any ServerCallHandler

  /// Created with the server, so that kick handlers can be in place before the first call.
  package let pollers: [Poller]
  /// For each poller, those on the same CPUs, itself among them.
  private var companions: [ObjectIdentifier: [Poller]] = [:]
  /// Bound addresses with their real ports, in the order of the configuration; empty before start.
  package private(set) var addresses: [Address] = []

  let configuration: ServerConfiguration
  private var methods: [String: Accept] = [:]
  private var handle: OpaquePointer?
  private let activeCalls = Atomic<Int>(0)
  /// Accepts posted or about to be; C-core returns them when it shuts down. The server's handle
  /// is valid while there is one.
  private let openAccepts = Atomic<Int>(0)
  /// Accepts posted so far: whose turn it is to get the next call.
  private let acceptTurn = Atomic<Int>(0)
  private let isShuttingDown = Atomic<Bool>(false)
  /// Notified during the shut-down when a call or an accept has ended, and when C-core is done.
  private let drained = WakeSignal()

  package init(_ configuration: ServerConfiguration) {
    grpc_init()
    self.configuration = configuration
    pollers = configuration.pollerCPUs.enumerated().map { number, cpus in
      Poller(name: "poller-\(number)", cpus: cpus, limits: configuration.limits)
    }
    check(!pollers.isEmpty, "a server needs a poller")
    for (door, cpus) in zip(pollers, configuration.pollerCPUs) {
      companions[ObjectIdentifier(door)] = zip(pollers, configuration.pollerCPUs)
        .filter { $0.1 == cpus }.map(\.0)
    }
  }

  /// Calls accepted and not ended. Any thread.
  package var activeCallCount: Int { activeCalls.load(ordering: .relaxed) }

  /// Answers calls of `path` ("/package.Service/Method") with the handler that `accept` makes, on
  /// the call's poller. Before `start`; once per path.
  package func register(path: String, accept: @escaping Accept) {
    check(handle == nil, "methods are registered before the server starts")
    check(methods.updateValue(accept, forKey: path) == nil, "\(path) is registered twice")
  }

  /// Listens on all addresses and begins to accept. On an error nothing is left listening.
  package func start() throws(RPCError) {
    check(handle == nil, "a server starts once")
    let server = try ServerListener.listen(configuration, pollers: pollers)
    handle = server.handle
    addresses = server.addresses
    grpc_server_start(server.handle)
    let acceptCount = configuration.limits.outstandingAcceptCount
    for poller in pollers {
      openAccepts.add(acceptCount, ordering: .acquiringAndReleasing)
      let isSubmitted = poller.submit { [self] in
        for _ in 0..<acceptCount { postAccept(at: poller) }
      }
      check(isSubmitted, "a poller refused its first job")
    }
  }

  /// Stops accepting, lets running calls end within `grace`, cancels those left, and frees
  /// everything, in the order that C-core asks for. Blocks; once.
  package func shutdown(grace: Duration) {
    isShuttingDown.store(true, ordering: .releasing)
    if let handle { drain(handle, grace: grace) }
    for poller in pollers { poller.stop() }
    grpc_shutdown()
  }
}

// MARK: - Accepting, on a poller

extension Server {
  /// C-core has a call, and tells it on the poller `door`.
  func accepted(_ call: ServerCall, at door: Poller) {
    let active = activeCalls.add(1, ordering: .acquiringAndReleasing).newValue
    call.isBeyondLimit = active > configuration.limits.callCountMax
    postAccept(at: door)
    if call.poller === door {
      begin(call)
    } else {
      call.handOver()
    }
  }

  /// Begins a call, on its own poller.
  func begin(_ call: ServerCall) {
    call.begin()
    guard !call.isBeyondLimit else {
      let limit = configuration.limits.callCountMax
      return call.finish(
        Status(.resourceExhausted, "the server has \(limit) calls open, its limit"))
    }
    if let refusal = configuration.admit?(call) { return call.finish(refusal) }
    guard let accept = methods[call.path] else {
      // As much of the path as a status has room for.
      let start = String(call.path.unicodeScalars.prefix(256))
      let path = start == call.path ? start : start + "…"
      return call.finish(Status(.unimplemented, "unknown method \(path)"))
    }
    call.attach(accept(call))
  }

  /// C-core returned an accept without a call, because the server shuts down.
  func acceptReturned() {
    openAccepts.subtract(1, ordering: .acquiringAndReleasing)
    notifyShutdown()
  }

  func ended(_ call: ServerCall) {
    activeCalls.subtract(1, ordering: .acquiringAndReleasing)
    notifyShutdown()
  }

  private func notifyShutdown() {
    if isShuttingDown.load(ordering: .acquiring) { drained.notify() }
  }

  /// Asks C-core for the next call of a client. It is told on `door`, which C-core chooses by the
  /// connection, and belongs to each poller beside it in turn.
  private func postAccept(at door: Poller) {
    guard let handle else { return }
    let companions = companions[ObjectIdentifier(door)] ?? [door]
    let turn = acceptTurn.add(1, ordering: .relaxed).oldValue % companions.count
    let call = ServerCall(server: self, poller: companions[turn])
    PendingAccept(call, at: door, of: self).post(to: handle)
  }
}

// MARK: - Shutting down

extension Server {
  private func drain(_ handle: OpaquePointer, grace: Duration) {
    let notification = ShutdownNotification(drained)
    let beginShutdown: Poller.Job = { [self] in
      let tag = pollers[0].tag(notification, 0)
      grpc_server_shutdown_and_notify(self.handle, pollers[0].queue, tag)
      notification.begun()
    }
    // A poller with a full ring of jobs takes this one as soon as it has worked on the others.
    while !pollers[0].submit(beginShutdown) {
      drained.wait(until: Clock.nowNanoseconds + 1_000_000)
    }
    while !notification.hasBegun { drained.wait() }
    let deadline = Clock.nowNanoseconds + nanoseconds(grace)
    while !isQuiet, Clock.nowNanoseconds < deadline { drained.wait(until: deadline) }
    // Connections without calls close now that they were told to go away. One that is closed by
    // force while its client writes is reset, and what the client has not read is lost.
    let closing = Clock.nowNanoseconds + Self.closingNanosecondsMax
    while isQuiet, !notification.hasCome, Clock.nowNanoseconds < closing {
      drained.wait(until: closing)
    }
    // Also when no call is left: this closes connections that idle or never said what they want.
    grpc_server_cancel_all_calls(handle)
    while !isQuiet || !notification.hasCome { drained.wait() }
    grpc_server_destroy(handle)
  }

  /// Time for clients to answer that they go.
  private static let closingNanosecondsMax: UInt64 = 500_000_000

  /// Whether no call runs and none can come.
  private var isQuiet: Bool {
    openAccepts.load(ordering: .acquiring) == 0 && activeCalls.load(ordering: .acquiring) == 0
  }

  private func nanoseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    return UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds)) / 1_000_000_000
  }
}

/// The tag of C-core's word that a server has shut down.
private final class ShutdownNotification: CompletionTarget, @unchecked Sendable {  // atomics only
  private let beginning = Atomic<Bool>(false)
  private let coming = Atomic<Bool>(false)
  private let signal: WakeSignal

  init(_ signal: WakeSignal) {
    self.signal = signal
  }

  var hasBegun: Bool { beginning.load(ordering: .acquiring) }
  var hasCome: Bool { coming.load(ordering: .acquiring) }

  func begun() {
    beginning.store(true, ordering: .releasing)
    signal.notify()
  }

  override func completed(_ operation: UInt8, success: Bool) {
    coming.store(true, ordering: .releasing)
    signal.notify()
  }
}
