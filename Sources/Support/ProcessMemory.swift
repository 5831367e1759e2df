// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc

/// What this process holds of the machine's memory.
package enum ProcessMemory {
  private static let pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))

  /// Bytes in memory that are no files' and that nobody has allocated: freed and kept by the
  /// allocator, but for what is not the allocator's at all. nil if `/proc` does not say.
  package static func idleBytes() -> Int? {
    privateBytes().map { max(0, $0 - Int(clinux_allocated_bytes())) }
  }

  /// Bytes in memory that are no files'; nil if `/proc` does not say.
  package static func privateBytes() -> Int? {
    let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var text: [UInt8] = Array(repeating: 0, count: 128)
    let count = read(descriptor, &text, text.count)
    let fields = text.prefix(max(count, 0)).split(separator: UInt8(ascii: " "))
    guard fields.count > 2, let resident = Int(String(decoding: fields[1], as: UTF8.self)),
      let shared = Int(String(decoding: fields[2], as: UTF8.self))
    else { return nil }
    return (resident - shared) * pageBytes
  }
}
