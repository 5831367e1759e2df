// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// OpenSSL's queue of errors, which each thread has of its own.
enum OpenSSLErrors {
  /// The reason of the latest error, and an empty queue.
  static func takeLatest() -> String {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    guard code != 0 else { return "unknown reason" }
    guard let reason = ERR_reason_error_string(code) else { return "error \(code)" }
    return String(cString: reason)
  }

  static func clear() { ERR_clear_error() }
}
