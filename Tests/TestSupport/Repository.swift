// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// Where the repository lies that these tests were built from.
package enum Repository {
  /// The folder of `Package.swift`.
  package static let root: URL = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// The absolute path of a file or folder, given relative to the root: "Tests/WireTests/Proto".
  package static func path(_ relative: String) -> String {
    root.appendingPathComponent(relative).path
  }
}
