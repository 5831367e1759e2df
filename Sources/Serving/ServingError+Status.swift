// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Wire

extension ServingError {
  /// Names this service in `google.rpc.ErrorInfo`.
  private static let domain = "silica"

  /// The error as `google.rpc.Status`, with its typed details.
  var status: Google_Rpc_Status {
    var info = Google_Rpc_ErrorInfo()
    info.reason = reason
    info.domain = Self.domain
    var details = [Google_Protobuf_Any(packing: info)]
    if let field {
      var violation = Google_Rpc_BadRequest.FieldViolation()
      violation.field = field
      violation.description = message
      var request = Google_Rpc_BadRequest()
      request.fieldViolations = [violation]
      details.append(Google_Protobuf_Any(packing: request))
    }
    if let retryDelay {
      var delay = Google_Protobuf_Duration()
      delay.seconds = Int64(retryDelay / 1_000_000_000)
      delay.nanos = Int32(retryDelay % 1_000_000_000)
      var retry = Google_Rpc_RetryInfo()
      retry.retryDelay = delay
      details.append(Google_Protobuf_Any(packing: retry))
    }
    var status = Google_Rpc_Status()
    status.code = code.statusNumber
    status.message = message
    status.details = details
    return status
  }

  /// The error as the status of a call.
  var rpcStatus: Status {
    Status(StatusCode(rawValue: code.statusNumber) ?? .unknown, message, details: status.encoded())
  }
}

extension ServerCall {
  /// Encodes a message straight into the memory that is sent.
  func send(_ message: some Message) {
    let size = message.encodedSize
    send(byteCount: size) { message.encode(into: $0) }
  }
}
