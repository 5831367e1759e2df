// SPDX-License-Identifier: Apache-2.0

package import Support

/// A file of certificates, keys or tokens that cannot be used; the message names it. It never
/// repeats what a key or a token is.
package struct SecretsError: OperatingError, Equatable {
  package let code: ErrorCode
  package let message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
