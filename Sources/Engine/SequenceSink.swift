// SPDX-License-Identifier: Apache-2.0

package import Step

/// Where the events of sequences go. One sink may serve many sequences.
package protocol SequenceSink: AnyObject, Sendable {
  /// What has happened to the sink's sequences since the last call, in order. The last event of
  /// each sequence is `.finished`. Called about once a step, on the engine's thread or an
  /// executor's, which must not be held up: take note and return.
  ///
  /// - Parameter stepEnd: when the newest step behind the events was done on its device, on
  ///   `Clock`.
  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds)
}
