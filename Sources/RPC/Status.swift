// SPDX-License-Identifier: Apache-2.0

/// How a call ended, as gRPC numbers it.
package enum StatusCode: Int32, Hashable, Sendable, CaseIterable {
  case ok = 0
  case cancelled = 1
  case unknown = 2
  case invalidArgument = 3
  case deadlineExceeded = 4
  case notFound = 5
  case alreadyExists = 6
  case permissionDenied = 7
  case resourceExhausted = 8
  case failedPrecondition = 9
  case aborted = 10
  case outOfRange = 11
  case unimplemented = 12
  case `internal` = 13
  case unavailable = 14
  case dataLoss = 15
  case unauthenticated = 16
}

/// What the server says at the end of a call.
package struct Status: Hashable, Sendable {
  package var code: StatusCode
  /// For people; any Unicode text.
  package var message: String
  /// A serialised `google.rpc.Status`, sent as `grpc-status-details-bin`; none if empty.
  package var details: [UInt8]

  package init(_ code: StatusCode, _ message: String = "", details: [UInt8] = []) {
    self.code = code
    self.message = message
    self.details = details
  }

  package static let ok = Status(.ok)

  /// The trailer that carries `details`.
  static let detailsKey = "grpc-status-details-bin"
}
