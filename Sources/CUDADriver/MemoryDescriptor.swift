// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A file descriptor of memory that processes share; the memory is there as long as anybody has a
/// descriptor of it or maps it. Safe to use from any thread.
package final class MemoryDescriptor: Sendable {
  package let number: Int32

  /// Takes a descriptor over.
  package init(_ number: Int32) { self.number = number }

  deinit { close(number) }
}
