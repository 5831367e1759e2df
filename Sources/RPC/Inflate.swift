// SPDX-License-Identifier: Apache-2.0

internal import CZlib

/// A received message that cannot be taken, as the status that its call ends with.
struct MessageFailure: Error {
  let status: Status

  init(_ code: StatusCode, _ message: String) {
    status = Status(code, message)
  }
}

/// Decompresses a message that a peer sent as gzip or deflate (a zlib stream, RFC 1950): to `limit`
/// bytes at most, so that what a message takes is bounded before it is known how far it grows.
func inflate(
  _ compressed: UnsafeRawBufferPointer, limit: Int
) throws(MessageFailure) -> [UInt8] {
  // gRPC does not say what a compressed message without bytes is; it can only be an empty one.
  guard !compressed.isEmpty else { return [] }
  var stream = z_stream()
  // 32 tells gzip and zlib apart by their first bytes.
  let size = Int32(MemoryLayout<z_stream>.size)
  guard inflateInit2_(&stream, 15 + 32, ZLIB_VERSION, size) == Z_OK else {
    throw MessageFailure(.resourceExhausted, "no memory to decompress a message")
  }
  defer { inflateEnd(&stream) }
  let input = compressed.bindMemory(to: UInt8.self)
  // zlib only reads it.
  stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
  stream.avail_in = UInt32(clamping: input.count)
  var result: [UInt8] = []
  var capacity = min(max(4 * input.count, 4_096), limit)
  while true {
    let code = inflateMore(&stream, into: &result, capacity: capacity)
    if code == Z_STREAM_END, stream.avail_in == 0, result.count <= limit { return result }
    let isFull = result.count == capacity && (code == Z_OK || code == Z_BUF_ERROR)
    guard isFull || result.count > limit else {
      throw MessageFailure(.internal, "a compressed message cannot be decompressed")
    }
    guard result.count <= limit else {
      throw MessageFailure(
        .resourceExhausted,
        "received message larger than max: more than \(limit) bytes when decompressed")
    }
    // One byte over the limit tells a message of its size from a larger one.
    capacity = min(2 * capacity, limit + 1)
  }
}

/// Appends what comes next, until `result` has `capacity` bytes or the input ends.
private func inflateMore(
  _ stream: inout z_stream, into result: inout [UInt8], capacity: Int
) -> Int32 {
  var code = Z_OK
  let room = capacity - result.count
  result += [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
    stream.next_out = buffer.baseAddress
    stream.avail_out = UInt32(clamping: room)
    code = CZlib.inflate(&stream, Z_NO_FLUSH)
    count = room - Int(stream.avail_out)
  }
  return code
}
