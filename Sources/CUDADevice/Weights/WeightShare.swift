// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Glibc
package import Support
internal import Synchronization

/// Weights on GPUs that the processes of one user share, at a path: the first of them loads them
/// and hands them to the others (`PATH`, a Unix socket, and `PATH.lock`, which it holds locked
/// until it ends). What it handed over outlives it.
///
/// One object for all devices of a process; any thread.
package final class WeightShare: Sendable {
  package let path: String
  /// Held by who loads; nil for who takes.
  private let lock: ProcessLock?
  private let listener: LocalSocket?
  private let offers = Mutex<[Offer]>([])
  private let thread = Mutex<PinnedThread?>(nil)

  private struct Offer: Sendable {
    var key: WeightKey
    var memory: MemoryDescriptor
  }

  /// Who asks waits so long for a socket to be there, and who answers for a question.
  private static let patience: UInt64 = 5_000_000_000
  private static let pauseMicroseconds: UInt32 = 20_000
  private static let keyBytesMax = 8_192

  /// The first process at a path becomes the one that loads.
  package init(path: String) throws(LocalSocket.Failure) {
    self.path = path
    lock = try ProcessLock(path: path + ".lock")
    listener = lock == nil ? nil : try LocalSocket.listening(at: path)
  }

  deinit {
    guard let listener else { return }
    listener.shutdown()
    thread.withLock { $0?.join() }
    unlink(path)
  }

  /// Whether this process loads the weights itself.
  package var loads: Bool { lock != nil }

  // MARK: The process that loads

  func offer(_ memory: MemoryDescriptor, for key: WeightKey) {
    offers.withLock { $0.append(Offer(key: key, memory: memory)) }
  }

  /// Answers from now on, with all that is loaded; who has asked before has waited.
  package func serve() {
    guard let listener else { return }
    let offers = offers.withLock { $0 }
    thread.withLock {
      $0 = PinnedThread(name: "weights") {
        while let socket = listener.accept() {
          socket.limitWaiting(to: Self.patience)
          // Who asks wrongly, or goes away, harms nobody.
          try? Self.answer(socket, offers)
        }
      }
    }
  }

  private static func answer(
    _ socket: LocalSocket, _ offers: [Offer]
  ) throws(LocalSocket.Failure) {
    guard try socket.peer().user == geteuid(), let question = try socket.receive() else { return }
    let text = String(decoding: question.bytes, as: UTF8.self)
    if let offer = offers.first(where: { $0.key.text == text }) {
      return try socket.send(Array("yes".utf8), descriptor: offer.memory.number)
    }
    let others = offers.map(\.key.line).joined(separator: "; ")
    try socket.send(Array(("no" + others).utf8.prefix(LocalSocket.messageBytesMax)))
  }

  // MARK: A process that takes

  /// The weights of that key from the process that has loaded them; waits until it has.
  func take(_ key: WeightKey) throws(LocalSocket.Failure) -> MemoryDescriptor {
    let socket = try connected()
    let (user, process) = try socket.peer()
    guard user == geteuid() else {
      throw failure("\(path) is of user \(user); expected \(geteuid())")
    }
    let question = Array(key.text.utf8)
    guard question.count <= Self.keyBytesMax else {
      throw failure("what tells the weights apart has \(question.count) bytes")
    }
    try socket.send(question)
    guard let answer = try socket.receive() else {
      throw failure(
        "process \(process), which was loading the weights of \(path), has ended; start again")
    }
    if let descriptor = answer.descriptor { return MemoryDescriptor(descriptor) }
    throw failure(
      "process \(process) shares other weights at \(path): it has "
        + "[\(String(decoding: answer.bytes.dropFirst(2), as: UTF8.self))], this process needs "
        + "[\(key.line)]; expected the same, or another path")
  }

  /// Who loads has the lock a moment before it listens.
  private func connected() throws(LocalSocket.Failure) -> LocalSocket {
    let end = Clock.nowNanoseconds + Self.patience
    while true {
      if let socket = try LocalSocket.connected(to: path) { return socket }
      guard Clock.nowNanoseconds < end else {
        throw failure("nobody answers at \(path), though a process holds \(path).lock")
      }
      usleep(Self.pauseMicroseconds)
    }
  }

  private func failure(_ message: String) -> LocalSocket.Failure {
    LocalSocket.Failure(code: .failedPrecondition, message: "--share-weights: \(message)")
  }
}
