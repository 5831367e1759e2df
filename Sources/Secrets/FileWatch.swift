// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Notices that files were written, replaced or removed, by looking at them now and then. Links are
/// followed, so that what Kubernetes does with a mounted secret is noticed too.
package struct FileWatch: Sendable {
  /// What of a file changes when its content does; nil in place of one that is not there.
  private struct Signature: Hashable {
    let device: UInt
    let inode: UInt
    let size: Int
    let modified: [Int]

    init?(_ path: String) {
      var status = stat()
      guard stat(path, &status) == 0 else { return nil }
      device = UInt(status.st_dev)
      inode = UInt(status.st_ino)
      size = Int(status.st_size)
      modified = [
        status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
        status.st_ctim.tv_nsec,
      ]
    }
  }

  package let paths: [String]
  private var known: [Signature?]
  private var lastSeen: [Signature?]

  /// What the files are now counts as known; so make it before reading them.
  package init(_ paths: [String]) {
    self.paths = paths
    known = paths.map { Signature($0) }
    lastSeen = known
  }

  /// Whether the files are others than at the last true answer, and were the same at the last two
  /// looks: who writes a certificate and then its key is given the time between two looks.
  package mutating func haveChanged() -> Bool {
    let now = paths.map { Signature($0) }
    defer { lastSeen = now }
    guard now != known, now == lastSeen else { return false }
    known = now
    return true
  }
}
