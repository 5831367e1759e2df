// SPDX-License-Identifier: Apache-2.0

internal import CGRPC
internal import Glibc
package import Support
internal import Synchronization

/// A completion queue and the one thread that drains it. Every call belongs to one poller and is
/// touched on its thread only, or on one that takes its place while it sleeps.
///
/// Other threads reach it with `submit` (a job) or `kick` (a word that work waits elsewhere).
/// C-core 1.51 has no public alarm; the only way to wake a sleeping queue is an empty batch on a
/// live call, so each poller keeps one call on a lame channel for that. Kicks while one is on its
/// way are merged into it. A wake-up costs about 11 us; per step, not per token.
package final class Poller: @unchecked Sendable {  // confined state is named so below
  package typealias Job = @Sendable () -> Void

  package let name: String
  let queue: OpaquePointer
  private let jobs: MPSCRing<Job>
  private let wakeChannel: OpaquePointer
  private let wakeCall: OpaquePointer
  /// Set while a wake-up is on its way; once the poller stops, for ever.
  private let isKicked = Atomic<Bool>(false)
  /// Set while work waits elsewhere; unlike the wake-up, it is seen between any two events.
  private let hasWork = Atomic<Bool>(false)
  private let isStopping = Atomic<Bool>(false)
  /// Since when its thread has been waiting for an event, on `Clock`; 0 while it is not.
  private let sleepBegan = Atomic<UInt64>(0)
  /// Held by the thread that works as the poller: its own, while that is awake.
  private let turns = Mutex(())
  /// That thread.
  private let threadID = Atomic<UInt>(0)
  private let thread = Mutex<PinnedThread?>(nil)

  private let latency = HandOverLatency()

  // Confined to the poller's thread.
  private let outboxes: OutboxTable
  /// When what is being told happened, on `Clock`, if it is to be measured how long the messages
  /// that are sent now take from then to C-core; else 0.
  package var cause: UInt64 = 0
  private var kickHandlers: [Job] = []
  /// Operations posted whose event is still to come. A call has one for as long as it lives.
  private var pendingOperationCount = 0
  private var isWakeCallIdle = false
  /// When others' work comes before events, on `Clock`.
  private var nextWorkTime: UInt64 = 0
  private var isQueueShutDown = false

  /// Starts the thread. `cpus` are the CPUs it may run on, all if empty. Must be stopped.
  package init(name: String, cpus: [Int] = [], limits: RPCLimits = RPCLimits()) {
    grpc_init()
    self.name = name
    outboxes = OutboxTable(limits: limits, latency: latency)
    jobs = MPSCRing(capacity: limits.pollerJobCountMax)
    let deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC)
    guard
      let queue = grpc_completion_queue_create_for_next(nil),
      let channel = grpc_lame_client_channel_create(nil, GRPC_STATUS_UNAVAILABLE, "wake-up only"),
      let call = grpc_channel_create_call(
        channel, nil, 0, queue,
        grpc_slice_from_static_string("/wake"), nil, deadline, nil)
    else { checkFailed("C-core gave no completion queue", file: #fileID, line: #line) }
    self.queue = queue
    wakeChannel = channel
    wakeCall = call
    thread.withLock {
      $0 = PinnedThread(name: name, cpus: cpus, takesShortTurns: true) { self.run() }
    }
  }

  /// Runs `job` on the poller's thread, soon. Returns false when the ring of jobs is full or the
  /// poller stops. Any thread.
  package func submit(_ job: @escaping Job) -> Bool {
    guard !isStopping.load(ordering: .acquiring), jobs.tryPush(job) else { return false }
    kick()
    return true
  }

  /// Makes the poller run its kick handlers and jobs, soon. Any thread; cheap when one is due.
  package func kick() {
    hasWork.store(true, ordering: .releasing)
    // The poller itself looks before it sleeps.
    if !isCurrent { wake() }
  }

  private func wake() {
    guard !isKicked.exchange(true, ordering: .acquiringAndReleasing) else { return }
    let code = grpc_call_start_batch(wakeCall, nil, 0, nil, nil)
    check(code == GRPC_CALL_OK, "cannot wake \(name): \(describe(code))")
  }

  /// Runs `handler` on the poller's thread after every kick: it drains a ring that other threads
  /// fill before they kick. Any thread; kept until the poller stops.
  package func addKickHandler(_ handler: @escaping Job) -> Bool {
    submit { self.kickHandlers.append(handler) }
  }

  /// Runs the kick handlers on the calling thread, which is the poller's meanwhile, if its own has
  /// been asleep for a while and is not being woken: that is sooner than to wake it. Returns
  /// whether it was so. Any thread.
  ///
  /// - Parameter more: makes more work for the handlers, and returns whether there was some. Called
  ///   until there is none, while what the handlers have sent is on its way to C-core.
  package func runKickHandlersIfAsleep(_ more: () -> Bool = { false }) -> Bool {
    let began = sleepBegan.load(ordering: .relaxed)
    guard began != 0, Clock.nowNanoseconds > began + Self.asleepTime,
      !isKicked.load(ordering: .relaxed), !isStopping.load(ordering: .acquiring)
    else { return false }
    let hasRun = turns.withLockIfAvailable { _ in
      guard !isQueueShutDown else { return false }
      let own = threadID.exchange(UInt(pthread_self()), ordering: .relaxed)
      defer { threadID.store(own, ordering: .relaxed) }
      runKickHandlers()
      withoutActuallyEscaping(more) { send(with: $0) }
      return true
    }
    // They may have left something for the poller.
    if hasWork.load(ordering: .relaxed) { wake() }
    return hasRun ?? false
  }

  /// Posts what is gathered, and what comes of `more`.
  private func send(with more: @escaping () -> Bool) {
    var hasMore = true
    while hasMore {
      let end = Clock.nowNanoseconds + Self.writeDelayMax
      outboxes.flush { [self] in
        repeat {
          hasMore = more()
          if hasMore { runKickHandlers() }
        } while hasMore && Clock.nowNanoseconds < end
      }
    }
  }

  /// Whether the caller is the poller's thread.
  package var isCurrent: Bool { threadID.load(ordering: .relaxed) == UInt(pthread_self()) }

  package func preconditionOnPoller() {
    check(isCurrent, "called outside the thread of \(name)")
  }

  /// Ends the thread once every call of the poller has ended: cancel them first. Blocks; once, and
  /// not from the poller itself.
  package func stop() {
    check(!isCurrent, "\(name) cannot stop itself")
    isStopping.store(true, ordering: .releasing)
    kick()
    thread.withLock { $0.take() }?.join()
    // They hold what they work for, which often holds the poller.
    kickHandlers = []
    grpc_completion_queue_destroy(queue)
    grpc_channel_destroy(wakeChannel)
    grpc_shutdown()
  }
}

// MARK: - Tags

extension Poller {
  /// The tag of an operation about to be posted, holding a reference to its target.
  func tag(_ target: CompletionTarget, _ operation: UInt8) -> UnsafeMutableRawPointer {
    preconditionOnPoller()
    check(operation < Self.foreignOperation, "operation numbers have four bits")
    pendingOperationCount += 1
    return Unmanaged.passRetained(target).toOpaque() + Int(operation)
  }

  /// The number of the one operation that another thread may post.
  static let foreignOperation: UInt8 = 15

  /// The tag of `foreignOperation`, on any thread. It is not counted: whoever posts it sees to it
  /// that the poller is not stopped meanwhile.
  func foreignTag(_ target: CompletionTarget) -> UnsafeMutableRawPointer {
    Unmanaged.passRetained(target).toOpaque() + Int(Self.foreignOperation)
  }

  private func complete(_ tag: UnsafeMutableRawPointer, success: Bool) {
    let bits = UInt(bitPattern: tag)
    guard let address = UnsafeRawPointer(bitPattern: bits & ~15) else { return }
    let operation = UInt8(bits & 15)
    if operation != Self.foreignOperation { pendingOperationCount -= 1 }
    let target = Unmanaged<CompletionTarget>.fromOpaque(address).takeRetainedValue()
    target.completed(operation, success: success)
  }
}

// MARK: - Sending

extension Poller {
  /// From a `cause` to the moment at which C-core had the message. Any thread.
  package var handOverLatency: LatencyHistogram { latency.value }

  /// Where the messages of a connection are gathered; for one more call.
  func openOutbox(peer: String) -> Outbox {
    preconditionOnPoller()
    return outboxes.open(peer: peer)
  }

  func closeOutbox(_ outbox: Outbox) {
    preconditionOnPoller()
    outboxes.close(outbox)
  }

  /// Posts a message soon, together with others of its connection.
  func post(_ message: OutgoingMessage, in outbox: Outbox) { outboxes.append(message, to: outbox) }
}

// MARK: - The thread

extension Poller {
  private func run() {
    turns.withLock { _ in threadID.store(UInt(pthread_self()), ordering: .relaxed) }
    let never = gpr_inf_future(GPR_CLOCK_MONOTONIC)
    let atOnce = gpr_inf_past(GPR_CLOCK_MONOTONIC)
    var isIdle = true
    while true {
      if isIdle { sleepBegan.store(Clock.nowNanoseconds, ordering: .relaxed) }
      let event = grpc_completion_queue_next(queue, isIdle ? never : atOnce, nil)
      if isIdle { sleepBegan.store(0, ordering: .relaxed) }
      if event.type == GRPC_QUEUE_SHUTDOWN { break }
      isIdle = turns.withLock { _ in
        handle(event)
        // Messages are gathered while there are other events.
        return outboxes.isEmpty && !hasWork.load(ordering: .relaxed)
      }
    }
    turns.withLock { _ in kickHandlers = [] }
  }

  private func handle(_ event: grpc_event) {
    if event.type == GRPC_QUEUE_TIMEOUT {
      takeWork()
    } else if let tag = event.tag {
      complete(tag, success: event.success != 0)
    } else {
      wokenUp()
    }
    if hasWork.load(ordering: .relaxed), Clock.nowNanoseconds >= nextWorkTime { takeWork() }
    shutDownQueueIfDone()
  }

  private func wokenUp() {
    // Taken back before the rings are looked at, so that what is pushed later wakes us again.
    _ = isKicked.exchange(false, ordering: .acquiringAndReleasing)
    if isStopping.load(ordering: .acquiring) {
      // Whoever sets the flag posts to the wake call. Set here, it stays: nobody posts again. If
      // another thread was first, its wake-up is on its way and we come here once more.
      isWakeCallIdle = !isKicked.exchange(true, ordering: .acquiringAndReleasing)
    }
  }

  /// Does what others have for it, and posts what is gathered.
  private func takeWork() {
    if hasWork.exchange(false, ordering: .acquiring) {
      while let job = jobs.tryPop() { job() }
      runKickHandlers()
    }
    outboxes.flush()
    nextWorkTime = Clock.nowNanoseconds + Self.eventsTime
  }

  private func runKickHandlers() { for handler in kickHandlers { handler() } }

  /// So long is a message held back for others that are being made.
  private static let writeDelayMax: UInt64 = 200_000

  /// While there are events, this much time is theirs before others' work has its turn: so what a
  /// step has made does not wait for all the events of a burst of calls, nor these for every step.
  private static let eventsTime: UInt64 = 100_000

  /// A poller with much to do never sleeps for so long. Its work is not for an executor.
  private static let asleepTime: UInt64 = 200_000

  /// C-core aborts on an operation posted to a queue that is shut down, so it is shut down only
  /// when no call is left that could post one.
  private func shutDownQueueIfDone() {
    guard isWakeCallIdle, pendingOperationCount == 0, !isQueueShutDown,
      !hasWork.load(ordering: .relaxed)
    else { return }
    isQueueShutDown = true
    grpc_call_unref(wakeCall)
    grpc_completion_queue_shutdown(queue)
  }
}
