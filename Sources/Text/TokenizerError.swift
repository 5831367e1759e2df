// SPDX-License-Identifier: Apache-2.0

package import Support

/// Why a tokenizer's files, a template or a text are refused.
package struct TokenizerError: OperatingError {
  package let code: ErrorCode
  package let message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }

  /// An invalid argument.
  init(_ message: String) { self.init(.invalidArgument, message) }
}
