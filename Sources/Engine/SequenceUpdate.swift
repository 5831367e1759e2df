// SPDX-License-Identifier: Apache-2.0

package import Step

/// A change to sequences that have been submitted; nil leaves a value as it is.
package struct SequenceUpdate: Hashable, Sendable {
  package var priority: Int32?
  /// On `Clock`.
  package var deadline: Nanoseconds?
  package var maxTokens: Int?
  /// Whether the model's thinking, if it is thinking, ends at the next token.
  package var endsThinking = false

  package init() {}
}
