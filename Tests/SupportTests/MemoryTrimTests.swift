// SPDX-License-Identifier: Apache-2.0

import Glibc
import Support
import Testing

@Suite struct MemoryTrimTests {
  /// In a process of its own: other tests take memory and free it meanwhile.
  @Test func `what was freed goes back to the system, and what is in use is left alone`() async {
    await #expect(processExitsWith: .success) {
      var trim = MemoryTrim()
      #expect(trim.tick(now: 1) == 0)
      // Small enough to come from the heap, with one in use at its end.
      let size = 64 << 10
      var blocks: [UnsafeMutableRawPointer] = []
      for _ in 0..<4 * MemoryTrim.slackBytes / size {
        let block = try #require(malloc(size))
        memset(block, 1, size)
        blocks.append(block)
      }
      let last = blocks.removeLast()
      defer { free(last) }
      for block in blocks { free(block) }
      #expect(trim.tick(now: 2) > MemoryTrim.slackBytes)
      #expect(last.load(as: UInt8.self) == 1)
      // Not again at once.
      #expect(trim.tick(now: 3) == 0)
    }
  }
}
