// SPDX-License-Identifier: Apache-2.0

/// What kind of failure an operating error is. The names and meanings are those of gRPC's status
/// codes, so that `Serving` maps one to the other once; 'unknown' and 'ok' are never chosen here.
package enum ErrorCode: Hashable, Sendable {
  case cancelled, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
  case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, `internal`
  case unavailable, dataLoss, unauthenticated
}

/// An expected failure: bad input, a missing file, a limit reached.
///
/// The message names the field or file, what it holds and what was expected; it is shown to
/// users as it is.
package protocol OperatingError: Error, CustomStringConvertible {
  var code: ErrorCode { get }
  var message: String { get }
}

extension OperatingError {
  package var description: String { message }
}
