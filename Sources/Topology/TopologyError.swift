// SPDX-License-Identifier: Apache-2.0

package import Support

/// A machine description that cannot be used.
package struct TopologyError: OperatingError {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
