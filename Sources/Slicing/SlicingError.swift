// SPDX-License-Identifier: Apache-2.0

package import Support

/// A slice plan that the model cannot have.
package struct SlicingError: OperatingError {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
