// SPDX-License-Identifier: Apache-2.0

/// Where and how a server listens.
package struct ServerConfiguration: Sendable {
  /// At least one; port 0 takes a free port.
  package var addresses: [Address]
  package var credentials = ServerCredentials.insecure
  /// One poller per element, on these CPUs; on all CPUs if the element is empty.
  package var pollerCPUs: [[Int]] = [[]]
  package var limits = RPCLimits()
  /// Asked for every call before its handler is made, on the call's poller: nil lets it in, perhaps
  /// with a `context`; a status ends it.
  package var admit: (@Sendable (ServerCall) -> Status?)?

  package init(addresses: [Address]) {
    self.addresses = addresses
  }
}
