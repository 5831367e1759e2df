// SPDX-License-Identifier: Apache-2.0

import RPC
import Secrets
import Serving

/// The API tokens of `silica serve`: a file, checked at start and taken again when it changes.
struct ServeTokens {
  static let options = [
    Option("--tokens", "FILE", "clients need a token of this file: lines of TENANT TOKEN LIMITS")
  ]

  let access: AccessControl
  private let path: String
  private var watch: FileWatch

  /// Nil if the options ask for none.
  init?(_ arguments: Arguments, addresses: [Address], isEncrypted: Bool) throws {
    guard let path = arguments.string("--tokens") else { return nil }
    self.path = path
    watch = FileWatch([path])
    let file = try TokenFile(path)
    access = AccessControl(file)
    Self.report(file)
    if !isEncrypted, let open = addresses.first(where: { !$0.isLoopback }) {
      Console.error(
        "silica: warning: tokens come to \(open) unprotected; use --tls-certificate and --tls-key\n"
      )
    }
  }

  /// Looks whether the file has changed; about once a second. If it is no good, the tokens stay as
  /// they were.
  mutating func refresh() {
    guard watch.haveChanged() else { return }
    do {
      let file = try TokenFile(path)
      access.replace(file)
      Self.report(file)
    } catch {
      Console.error("silica: the tokens have changed and are not taken: \(error.message)\n")
    }
  }

  private static func report(_ file: TokenFile) {
    Console.error("silica: clients need one of the \(file.tokenCount) tokens of \(file.path)\n")
    if file.isReadableByOthers, file.holdsTokens {
      Console.error(
        "silica: warning: \(file.path) may be read by every user; expected mode 600, or sha256:HEX "
          + "in place of tokens\n")
    }
  }
}
