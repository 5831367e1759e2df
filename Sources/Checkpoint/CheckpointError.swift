// SPDX-License-Identifier: Apache-2.0

package import Support

/// A checkpoint that cannot be read: the message names the file, the field or tensor, what it
/// holds and what was expected.
package struct CheckpointError: OperatingError {
  package let code: ErrorCode
  package let message: String

  /// `code` is `.notFound` for a missing file, `.unimplemented` for what Silica does not read, and
  /// `.failedPrecondition` for what is wrong.
  package init(_ message: String, code: ErrorCode = .failedPrecondition) {
    self.code = code
    self.message = message
  }
}
