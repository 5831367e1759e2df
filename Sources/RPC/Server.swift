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
  /// Bound addresses with their real ports, in the order of the configuration; empty before start.
  package private(set) var addresses: [Address] = []

  let configuration: ServerConfiguration
  private var methods: [String: Accept] = [:]
  private var handle: OpaquePointer?
  private let activeCalls = Atomic<Int>(0)
  private let isShuttingDown = Atomic<Bool>(false)
  /// Notified when the last call has ended, and when C-core says that it is done.
  private let drained = WakeSignal()

  package init(_ configuration: ServerConfiguration) {
    grpc_init()
    self.configuration = configuration
    pollers = configuration.pollerCPUs.enumerated().map { number, cpus in
      Poller(name: "poller-\(number)", cpus: cpus, limits: configuration.limits)
    }
    check(!pollers.isEmpty, "a server needs a poller")
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
    for poller in pollers {
      let isAccepted = poller.submit { [self] in
        for _ in 0..<configuration.limits.outstandingAcceptCount { postAccept(on: poller) }
      }
      check(isAccepted, "a poller refused its first job")
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
  func accepted(_ call: ServerCall) {
    let active = activeCalls.add(1, ordering: .relaxed).newValue
    postAccept(on: call.poller)
    call.begin()
    guard active <= configuration.limits.callCountMax else {
      let limit = configuration.limits.callCountMax
      let status = Status(.resourceExhausted, "the server has \(limit) calls open, its limit")
      return refuse(call, status)
    }
    guard let accept = methods[call.path] else {
      return refuse(call, Status(.unimplemented, "unknown method \(call.path)"))
    }
    call.attach(accept(call))
  }

  func ended(_ call: ServerCall) {
    let active = activeCalls.subtract(1, ordering: .acquiringAndReleasing).newValue
    if active == 0, isShuttingDown.load(ordering: .acquiring) { drained.notify() }
  }

  private func postAccept(on poller: Poller) {
    guard let handle, !isShuttingDown.load(ordering: .acquiring) else { return }
    ServerCall(server: self, poller: poller).requestAccept(from: handle)
  }

  private func refuse(_ call: ServerCall, _ status: Status) {
    call.finish(status)
  }
}

// MARK: - Shutting down

extension Server {
  private func drain(_ handle: OpaquePointer, grace: Duration) {
    let notification = ShutdownNotification(drained)
    let isSubmitted = pollers[0].submit { [self] in
      let tag = pollers[0].tag(notification, 0)
      grpc_server_shutdown_and_notify(self.handle, pollers[0].queue, tag)
    }
    check(isSubmitted, "a poller refused the shut-down")
    let (seconds, attoseconds) = grace.components
    let nanoseconds = max(0, seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    let deadline = Clock.nowNanoseconds + UInt64(nanoseconds)
    while !isDrained(notification), Clock.nowNanoseconds < deadline {
      drained.wait(until: deadline)
    }
    if !isDrained(notification) { grpc_server_cancel_all_calls(handle) }
    while !isDrained(notification) { drained.wait() }
    grpc_server_destroy(handle)
  }

  private func isDrained(_ notification: ShutdownNotification) -> Bool {
    notification.hasCome.load(ordering: .acquiring)
      && activeCalls.load(ordering: .acquiring) == 0
  }
}

/// The tag of C-core's word that a server has shut down.
private final class ShutdownNotification: CompletionTarget, @unchecked Sendable {
  let hasCome = Atomic<Bool>(false)
  private let signal: WakeSignal

  init(_ signal: WakeSignal) {
    self.signal = signal
  }

  override func completed(_ operation: UInt8, success: Bool) {
    hasCome.store(true, ordering: .releasing)
    signal.notify()
  }
}
