// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Support

/// Memory for what lives as long as the device: in few large pieces, on huge pages where there are
/// some. A page lands on the node of the thread that touches it first.
final class Arena {
  /// Smallest piece; its pages cost nothing until they are touched.
  private static let pieceBytes = 64 << 20
  private static let alignment = 64

  private var pieces: [(start: UnsafeMutableRawPointer, byteCount: Int)] = []
  private var used = 0

  deinit {
    for piece in pieces { ck_unmap(piece.start, Int64(piece.byteCount)) }
  }

  /// Zeroed memory for `count` plain values, aligned to 64 bytes.
  func allocate<T: BitwiseCopyable>(
    _ type: T.Type, count: Int
  ) throws(DeviceError) -> UnsafeMutablePointer<T> {
    let byteCount = max(1, count) * MemoryLayout<T>.stride
    let start = try allocate(byteCount: byteCount)
    return start.bindMemory(to: type, capacity: max(1, count))
  }

  private func allocate(byteCount: Int) throws(DeviceError) -> UnsafeMutableRawPointer {
    let rounded = (byteCount + Self.alignment - 1) / Self.alignment * Self.alignment
    if pieces.last.map({ used + rounded > $0.byteCount }) ?? true { try addPiece(of: rounded) }
    guard let piece = pieces.last else {
      throw DeviceError(.internal, "no piece of memory")
    }
    defer { used += rounded }
    return piece.start + used
  }

  private func addPiece(of byteCount: Int) throws(DeviceError) {
    let size = max(byteCount, Self.pieceBytes)
    guard let start = ck_map(Int64(size)) else {
      throw DeviceError(.resourceExhausted, "the system has no \(size) bytes of memory left")
    }
    pieces.append((start, size))
    used = 0
  }
}
