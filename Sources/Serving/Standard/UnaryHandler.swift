// SPDX-License-Identifier: Apache-2.0

internal import RPC
internal import Wire

/// One unary call: a request in, an answer or an error out, at once. Confined to its poller.
final class UnaryHandler<Request: Message, Response: Message>: ServerCallHandler {
  private let answer: (Request) throws(ServingError) -> Response
  private var hasAnswered = false

  init(
    _ method: MethodDescriptor<Request, Response>, call: ServerCall,
    answer: @escaping (Request) throws(ServingError) -> Response
  ) {
    self.answer = answer
    call.read()
  }

  func received(_ message: RawSpan, on call: ServerCall) {
    hasAnswered = true
    let request: Request
    do {
      request = try Request(decoding: message)
    } catch {
      return call.finish(Status(.invalidArgument, "undecodable request: \(error)"))
    }
    do throws(ServingError) {
      call.send(try answer(request))
      call.finish(.ok)
    } catch {
      call.finish(error.rpcStatus)
    }
  }

  func receivedEnd(on call: ServerCall) {
    if !hasAnswered { call.finish(Status(.invalidArgument, "the call ended without a request")) }
  }

  func readyToSend(on call: ServerCall) {}
  func ended(on call: ServerCall, wasCancelled: Bool) {}
}
