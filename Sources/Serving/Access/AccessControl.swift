// SPDX-License-Identifier: Apache-2.0

internal import Messages
internal import RPC
internal import Secrets
internal import Step
internal import Support
internal import Synchronization

/// Lets in who shows a token, as `authorization: Bearer TOKEN`. Health is open to all, so that load
/// balancers and kubelets need no secret. Any thread.
package final class AccessControl: Sendable {
  fileprivate struct Table {
    var digests = SecretDigestList()
    /// In the order of the digests.
    var grants: [AccessGrant] = []
    var grantOfDigest: [SecretDigest: AccessGrant] = [:]
    var tenants: [String: Tenant] = [:]
  }

  private let table: Mutex<Table>
  private let refusals = Atomic<Int>(0)

  package init(_ file: TokenFile) {
    table = Mutex(Table(file, replacing: Table()))
  }

  /// From now on the tokens of another file. A tenant that stays keeps its account; a token that is
  /// gone begins nothing more, also on a stream that it has opened.
  package func replace(_ file: TokenFile) {
    table.withLock { table in
      let old = table
      table = Table(file, replacing: old)
      for (digest, grant) in old.grantOfDigest where table.grantOfDigest[digest] !== grant {
        grant.withdraw()
      }
    }
  }

  /// Calls that were refused for want of a token, since the start.
  package var refusalCount: Int { refusals.load(ordering: .relaxed) }

  private static let openPrefix = "/\(Grpc_Health_V1_Health.serviceName)/"

  /// Lets a call in, or says with which status it ends. Once for each call, before any work.
  func admit(_ call: ServerCall) -> Status? {
    if call.path.hasPrefix(Self.openPrefix) { return nil }
    do throws(ServingError) {
      call.context = try grant(for: call.metadata)
      return nil
    } catch {
      refusals.add(1, ordering: .relaxed)
      return error.rpcStatus
    }
  }

  func grant(for metadata: Metadata) throws(ServingError) -> AccessGrant {
    let values = metadata.values(of: "authorization")
    guard let value = values.first, values.count == 1 else {
      throw Self.refusal(
        "expected one 'authorization' in the metadata: 'Bearer ' and a token", "TOKEN_MISSING")
    }
    guard let token = Self.token(in: value) else {
      throw Self.refusal(
        "'authorization' in the metadata is not 'Bearer ' and a token", "TOKEN_MISSING")
    }
    let digest = SecretDigest(of: token)
    let grant = table.withLock { table in
      table.digests.index(of: digest).map { table.grants[$0] }
    }
    guard let grant else { throw Self.refusal("the token is not known here", "TOKEN_UNKNOWN") }
    return grant
  }

  /// What follows the scheme, whose case does not matter (RFC 9110, 11.1).
  private static func token(in value: [UInt8]) -> ArraySlice<UInt8>? {
    let scheme = Array("bearer ".utf8)
    guard value.count > scheme.count else { return nil }
    let isBearer = zip(value, scheme).allSatisfy { $0 == $1 || $0 | 0x20 == $1 }
    return isBearer ? value[scheme.count...] : nil
  }

  private static func refusal(_ message: String, _ reason: String) -> ServingError {
    ServingError(.unauthenticated, message, reason: reason)
  }
}

extension AccessControl.Table {
  fileprivate init(_ file: TokenFile, replacing old: Self) {
    for entry in file.entries {
      let limits = file.limits[entry.tenant] ?? TenantLimits()
      let tenant =
        tenants[entry.tenant] ?? old.tenants[entry.tenant]
        ?? Tenant(name: entry.tenant, limits: limits)
      if tenants.updateValue(tenant, forKey: entry.tenant) == nil { tenant.setLimits(limits) }
      let known = old.grantOfDigest[entry.digest].flatMap { $0.tenant === tenant ? $0 : nil }
      let grant = known ?? AccessGrant(tenant: tenant)
      digests.append(entry.digest)
      grants.append(grant)
      grantOfDigest[entry.digest] = grant
    }
  }
}

/// What a token gives a call: the right to begin generations on a tenant's account.
final class AccessGrant: Sendable {
  let tenant: Tenant
  private let isWithdrawn = Atomic<Bool>(false)

  init(tenant: Tenant) { self.tenant = tenant }

  func withdraw() { isWithdrawn.store(true, ordering: .releasing) }

  func admitGeneration(now: Nanoseconds) throws(ServingError) -> GenerationTicket {
    guard !isWithdrawn.load(ordering: .acquiring) else {
      throw ServingError(
        .unauthenticated, "the token of this stream is no longer known here; open a new one",
        reason: "TOKEN_WITHDRAWN")
    }
    return try tenant.admitGeneration(now: now)
  }
}

extension ServerCall {
  /// Whose call it is; nil where no tokens are asked for.
  var tenant: Tenant? { (context as? AccessGrant)?.tenant }

  /// Asks whether the client may begin a generation now. What it gets is kept as long as the
  /// generation runs; nil where no tokens are asked for.
  func admitGeneration() throws(ServingError) -> GenerationTicket? {
    try (context as? AccessGrant)?.admitGeneration(now: Clock.nowNanoseconds)
  }
}
