// SPDX-License-Identifier: Apache-2.0

package import Support

/// A failure of the transport itself: an address that cannot be listened on, a full ring, metadata
/// that HTTP/2 cannot carry. How a call ended is a `Status`, not an error.
package struct RPCError: OperatingError, Equatable {
  package let code: ErrorCode
  package let message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
