// SPDX-License-Identifier: Apache-2.0

package import Step

/// Where the events of sequences go. One sink may serve many sequences.
package protocol SequenceSink: AnyObject, Sendable {
  /// What has happened to the sink's sequences since the last call, in order. The last event of
  /// each sequence is `.finished`. Called about once a step, in the engine's turn, which must not
  /// be held up: take note and return.
  ///
  /// - Parameter stepEnd: when the newest step behind the events was done on its device, on
  ///   `Clock`; 0 if there is none.
  func deliver(_ events: [SequenceEvent], stepEnd: Nanoseconds)

  /// Lets whoever reads the events know that some were delivered.
  func wakeReader()

  /// The same, on the thread of an executor and outside of the engine's turn: if the reader sleeps,
  /// its work may be done here, which is sooner than to wake it.
  ///
  /// - Parameter more: delivers more of the same step, to this sink or others; false if there is
  ///   none. To be called until then if the work is done here.
  /// - Returns: whether it was.
  func wakeReaderOrRead(_ more: () -> Bool) -> Bool
}

extension SequenceSink {
  package func wakeReader() {}
  package func wakeReaderOrRead(_ more: () -> Bool) -> Bool {
    wakeReader()
    return false
  }
}
