// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// Bytes as OpenSSL reads and writes them. Owns OpenSSL's object.
struct OpenSSLStream: ~Copyable {
  let handle: OpaquePointer?

  /// An empty stream to write to.
  init() { handle = BIO_new(BIO_s_mem()) }

  /// A stream with a copy of these bytes to read.
  init(_ bytes: some Collection<UInt8>) {
    self.init()
    let bytes = Array(bytes)
    if !bytes.isEmpty { BIO_write(handle, bytes, Int32(bytes.count)) }
  }

  deinit { BIO_free(handle) }

  /// What was written, up to 1,024 bytes of it.
  func text() -> String {
    var bytes = [UInt8](repeating: 0, count: 1_024)
    let count = BIO_read(handle, &bytes, Int32(bytes.count))
    return String(decoding: bytes.prefix(Int(max(0, count))), as: UTF8.self)
  }
}
