// SPDX-License-Identifier: Apache-2.0

import Glibc
import Support
import Testing

/// Each in a process of its own: other tests take memory and free it meanwhile.
@Suite struct MemoryTrimTests {
  @Test func `what was freed goes back to the system, and what is in use is left alone`() async {
    await #expect(processExitsWith: .success) {
      var trim = MemoryTrim()
      #expect(trim.tick(now: 1) == 0)
      // Small enough to come from the heap, with one in use at its end.
      var blocks = try Self.allocate(bytes: 4 * MemoryTrim.slackBytes)
      let last = blocks.removeLast()
      defer { free(last) }
      for block in blocks { free(block) }
      #expect(trim.tick(now: 2) > MemoryTrim.slackBytes)
      #expect(last.load(as: UInt8.self) == 1)
      // Not again at once.
      #expect(trim.tick(now: 3) == 0)
    }
  }

  /// Every second block is in use, so nothing can be given back of the others, until all are freed:
  /// that is not to wait for the time that the tries in vain have cost.
  @Test func `a burst that ends after tries in vain is given back soon`() async {
    await #expect(processExitsWith: .success) {
      var trim = MemoryTrim()
      #expect(trim.tick(now: 1) == 0)
      let blocks = try Self.allocate(bytes: 8 * MemoryTrim.slackBytes, size: 2 << 10)
      for index in stride(from: 0, to: blocks.count, by: 2) { free(blocks[index]) }
      var now: UInt64 = 2
      for _ in 0..<12 {
        #expect(trim.tick(now: now) < MemoryTrim.slackBytes / 4)
        now += 60_000_000_000
      }
      // The last one stays, or the heap would end before it and nothing be left to give back.
      for index in stride(from: 1, to: blocks.count - 1, by: 2) { free(blocks[index]) }
      #expect(trim.tick(now: now + MemoryTrim.waits.lowerBound) > MemoryTrim.slackBytes)
    }
  }

  private static func allocate(
    bytes: Int, size: Int = 64 << 10
  ) throws -> [UnsafeMutableRawPointer] {
    try (0..<bytes / size).map { _ in
      let block = try #require(malloc(size))
      memset(block, 1, size)
      return block
    }
  }
}
