// SPDX-License-Identifier: Apache-2.0

internal import CGRPC

typealias ByteBufferPointer = UnsafeMutablePointer<grpc_byte_buffer>

/// A message of `byteCount` bytes that `write` encodes straight into C-core's memory: one
/// allocation, no copy. Owned by the caller.
func makeByteBuffer(
  byteCount: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void
) -> ByteBufferPointer? {
  var slice = grpc_slice_malloc(byteCount)
  defer { grpc_slice_unref(slice) }
  withUnsafeMutablePointer(to: &slice) {
    write(UnsafeMutableRawBufferPointer(start: cgrpc_slice_bytes($0), count: byteCount))
  }
  return grpc_raw_byte_buffer_create(&slice, 1)
}

/// Lends the bytes of a received message, decompressed. Throws for one that has more than `limit`
/// bytes then, or cannot be decompressed.
func withBytes(
  of buffer: ByteBufferPointer, limit: Int, _ body: (UnsafeRawBufferPointer) -> Void
) throws(MessageFailure) {
  guard cgrpc_compression(buffer) != GRPC_COMPRESS_NONE else {
    return withSentBytes(of: buffer, body)
  }
  var inflated: Result<[UInt8], MessageFailure> = .success([])
  withSentBytes(of: buffer) { sent in
    inflated = Result { () throws(MessageFailure) in try inflate(sent, limit: limit) }
  }
  let bytes = try inflated.get()
  bytes.withUnsafeBytes { body($0) }
}

/// Lends the bytes of a message as they came. A message in one slice is read in place; one that
/// came in pieces is joined first.
private func withSentBytes(
  of buffer: ByteBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
) {
  var reader = grpc_byte_buffer_reader()
  guard grpc_byte_buffer_reader_init(&reader, buffer) != 0 else {
    return body(UnsafeRawBufferPointer(start: nil, count: 0))
  }
  defer { grpc_byte_buffer_reader_destroy(&reader) }
  let byteCount = grpc_byte_buffer_length(buffer)
  var first: UnsafeMutablePointer<grpc_slice>?
  if grpc_byte_buffer_reader_peek(&reader, &first) != 0, let first,
    cgrpc_slice_length(first) == byteCount
  {
    return body(UnsafeRawBufferPointer(start: cgrpc_slice_bytes(first), count: byteCount))
  }
  grpc_byte_buffer_reader_destroy(&reader)
  _ = grpc_byte_buffer_reader_init(&reader, buffer)
  var joined = grpc_byte_buffer_reader_readall(&reader)
  defer { grpc_slice_unref(joined) }
  withUnsafeMutablePointer(to: &joined) {
    body(UnsafeRawBufferPointer(start: cgrpc_slice_bytes($0), count: cgrpc_slice_length($0)))
  }
}

/// A slice with a copy of `bytes`. Owned by the caller.
func makeSlice(_ bytes: some Collection<UInt8>) -> grpc_slice {
  var slice = grpc_slice_malloc(bytes.count)
  withUnsafeMutablePointer(to: &slice) {
    let target = UnsafeMutableRawBufferPointer(start: cgrpc_slice_bytes($0), count: bytes.count)
    target.copyBytes(from: bytes)
  }
  return slice
}

/// A copy of the bytes of `slice`, which stays with its owner.
func bytes(of slice: grpc_slice) -> [UInt8] {
  withUnsafePointer(to: slice) {
    let start = cgrpc_slice_bytes(UnsafeMutablePointer(mutating: $0))
    return Array(UnsafeBufferPointer(start: start, count: cgrpc_slice_length($0)))
  }
}

/// A copy of the text of `slice`, which stays with its owner.
func text(of slice: grpc_slice) -> String {
  String(decoding: bytes(of: slice), as: UTF8.self)
}

/// C-core's name of a refused call.
func describe(_ error: grpc_call_error) -> String {
  String(cString: grpc_call_error_to_string(error))
}
