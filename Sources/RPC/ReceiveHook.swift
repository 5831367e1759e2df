// SPDX-License-Identifier: Apache-2.0

internal import CReceive
internal import Support
internal import Synchronization

/// Has a `ConnectionWatch` read along on every connection of the process, before C-core gets what
/// came.
enum ReceiveHook {
  private static let limits = Mutex(RPCLimits())
  private static let total = ConnectionWatch.Total()

  /// Lives for ever, as C keeps its address.
  nonisolated(unsafe) private static let observer = {  // never changes
    let observer = UnsafeMutablePointer<creceive_observer>.allocate(capacity: 1)
    observer.initialize(
      to: creceive_observer(
        opened: { Unmanaged.passRetained(ReceiveHook.open()).toOpaque() },
        received: { connection, bytes, count in
          guard let connection else { return 1 }
          let watch = Unmanaged<ConnectionWatch>.fromOpaque(connection).takeUnretainedValue()
          let bytes = UnsafeRawBufferPointer(start: bytes, count: count)
          return ReceiveHook.received(bytes, by: watch) ? 1 : 0
        },
        closed: { connection in
          if let connection { Unmanaged<ConnectionWatch>.fromOpaque(connection).release() }
        }))
    return creceive_observe(observer) != 0 ? observer : nil
  }()

  /// From now on, for connections that open from now on. They are the process's: where it has
  /// several servers, the limits are those of the one that starts last.
  static func watch(_ limits: RPCLimits) throws(RPCError) {
    guard creceive_is_used() != 0, observer != nil else {
      throw RPCError(.internal, "gRPC does not receive through this program")
    }
    self.limits.withLock { $0 = limits }
  }

  private static func open() -> ConnectionWatch {
    ConnectionWatch(limits.withLock { $0 }, total)
  }

  /// Returns whether the connection may go on.
  private static func received(
    _ bytes: UnsafeRawBufferPointer, by watch: ConnectionWatch
  ) -> Bool {
    guard let offence = watch.received(bytes, now: Clock.nowNanoseconds) else { return true }
    CoreLog.note("cut a connection: \(offence.rawValue)")
    return false
  }
}
