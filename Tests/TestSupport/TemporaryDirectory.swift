// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// A new empty folder, removed with all that is in it when the last reference goes.
package final class TemporaryDirectory: Sendable {
  package let url: URL

  package init() throws {
    url = FileManager.default.temporaryDirectory
      .appendingPathComponent("silica-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  /// The absolute path of the folder.
  package var path: String { url.path }

  /// The absolute path of a file in it, whether it exists or not.
  package func path(_ name: String) -> String { url.appendingPathComponent(name).path }
}
