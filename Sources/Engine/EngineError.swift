// SPDX-License-Identifier: Apache-2.0

package import Step
package import Support

/// A refusal of the engine, or a failure of it.
package struct EngineError: OperatingError, Hashable {
  package var code: ErrorCode
  package var message: String
  /// With `.resourceExhausted`: when to try again.
  package var retryDelay: Nanoseconds?

  package init(_ code: ErrorCode, _ message: String, retryDelay: Nanoseconds? = nil) {
    self.code = code
    self.message = message
    self.retryDelay = retryDelay
  }

  /// The same refusal, from another part.
  package init(_ error: some OperatingError) {
    self.init(error.code, error.message)
  }
}
