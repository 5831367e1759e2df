// SPDX-License-Identifier: Apache-2.0

/// An object that is the tag of its own operations on a completion queue.
///
/// The tag given to C-core is the object's address with the operation's number in the low four
/// bits, so that no table of tags and no object per operation is needed. `Poller.tag` retains the
/// object when an operation is posted and `Poller` releases it at the operation's event; there is
/// no other place.
package class CompletionTarget {
  init() {}

  /// One operation ended; on the thread of the poller. `operation` is below 16.
  func completed(_ operation: UInt8, success: Bool) {
    preconditionFailure("a subclass answers its completions")
  }
}
