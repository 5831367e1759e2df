// SPDX-License-Identifier: Apache-2.0

import Foundation
import Secrets
import TestSupport
import Testing

@Suite struct FileWatchTests {
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(filePath: folder.path(name)))
  }

  @Test func `a change is told once, when two looks saw the same`() throws {
    try write("a", "1")
    try write("b", "1")
    let watch = Looks([folder.path("a"), folder.path("b")])
    #expect(!watch.next())
    try write("a", "22")
    #expect(!watch.next(), "it may be half of a change")
    try write("b", "22")
    #expect(!watch.next())
    #expect(watch.next())
    #expect(!watch.next())
  }

  @Test func `a removed file is a change, and so is one that comes back`() throws {
    try write("a", "1")
    let watch = Looks([folder.path("a")])
    try FileManager.default.removeItem(atPath: folder.path("a"))
    #expect(!watch.next())
    #expect(watch.next())
    try write("a", "1")
    #expect(!watch.next())
    #expect(watch.next())
  }

  @Test func `a link that leads elsewhere is a change`() throws {
    try write("old", "same size")
    try write("new", "same_size")
    let link = folder.path("link")
    try FileManager.default.createSymbolicLink(
      atPath: link, withDestinationPath: folder.path("old"))
    let watch = Looks([link])
    try FileManager.default.removeItem(atPath: link)
    try FileManager.default.createSymbolicLink(
      atPath: link, withDestinationPath: folder.path("new"))
    #expect(!watch.next())
    #expect(watch.next())
  }
}

/// `#expect` does not take a call that changes a value.
private final class Looks {
  private var watch: FileWatch

  init(_ paths: [String]) { watch = FileWatch(paths) }

  func next() -> Bool { watch.haveChanged() }
}
