// SPDX-License-Identifier: Apache-2.0

internal import Engine
package import Step
package import Support

/// A refused or failed request, with what a program needs to act on it.
package struct ServingError: OperatingError {
  package var code: ErrorCode
  package var message: String
  /// UPPER_SNAKE_CASE, for `google.rpc.ErrorInfo`.
  package var reason: String
  /// The path of the field at fault, "start.sampling.top_p", for `google.rpc.BadRequest`.
  package var field: String?
  /// When to try again, for `google.rpc.RetryInfo`.
  package var retryDelay: Nanoseconds?

  package init(
    _ code: ErrorCode, _ message: String, reason: String, field: String? = nil,
    retryDelay: Nanoseconds? = nil
  ) {
    self.code = code
    self.message = message
    self.reason = reason
    self.field = field
    self.retryDelay = retryDelay
  }

  /// A field of a request that holds what it must not.
  static func invalid(_ field: String, _ message: String) -> ServingError {
    ServingError(.invalidArgument, message, reason: "INVALID_FIELD", field: field)
  }

  /// Any expected failure, kept as it is if it already is one of these.
  init(_ error: any OperatingError) {
    if let error = error as? ServingError {
      self = error
    } else if let error = error as? EngineError, error.code == .resourceExhausted {
      self.init(error.code, error.message, reason: "QUEUE_FULL", retryDelay: error.retryDelay)
    } else {
      self.init(error.code, error.message, reason: error.code.name)
    }
  }
}

extension String {
  /// A client's text as error messages repeat it: a call's status has room for little.
  var excerpt: String {
    let start = unicodeScalars.prefix(64)
    return start.endIndex == unicodeScalars.endIndex ? self : String(start) + "…"
  }
}

extension ErrorCode {
  /// The number of gRPC's status code (google.rpc.Code).
  package var statusNumber: Int32 {
    switch self {
    case .cancelled: 1
    case .invalidArgument: 3
    case .deadlineExceeded: 4
    case .notFound: 5
    case .alreadyExists: 6
    case .permissionDenied: 7
    case .resourceExhausted: 8
    case .failedPrecondition: 9
    case .aborted: 10
    case .outOfRange: 11
    case .unimplemented: 12
    case .internal: 13
    case .unavailable: 14
    case .dataLoss: 15
    case .unauthenticated: 16
    }
  }

  /// The name of gRPC's status code: "INVALID_ARGUMENT".
  package var name: String {
    switch self {
    case .cancelled: "CANCELLED"
    case .invalidArgument: "INVALID_ARGUMENT"
    case .deadlineExceeded: "DEADLINE_EXCEEDED"
    case .notFound: "NOT_FOUND"
    case .alreadyExists: "ALREADY_EXISTS"
    case .permissionDenied: "PERMISSION_DENIED"
    case .resourceExhausted: "RESOURCE_EXHAUSTED"
    case .failedPrecondition: "FAILED_PRECONDITION"
    case .aborted: "ABORTED"
    case .outOfRange: "OUT_OF_RANGE"
    case .unimplemented: "UNIMPLEMENTED"
    case .internal: "INTERNAL"
    case .unavailable: "UNAVAILABLE"
    case .dataLoss: "DATA_LOSS"
    case .unauthenticated: "UNAUTHENTICATED"
    }
  }
}
