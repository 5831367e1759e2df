// SPDX-License-Identifier: Apache-2.0

import RPC

extension Arguments {
  /// All values of an option as HOST:PORT.
  func addresses(_ name: String) throws(UsageError) -> [Address] {
    var addresses: [Address] = []
    for text in strings(name) {
      do {
        addresses.append(try Address(parsing: text))
      } catch {
        throw UsageError("\(name): \(error.message)")
      }
    }
    return addresses
  }
}
