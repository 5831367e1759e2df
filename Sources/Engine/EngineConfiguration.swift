// SPDX-License-Identifier: Apache-2.0

package import Slicing

/// What an engine may use, and its limits. `Engine.start` says which of them do not fit.
package struct EngineConfiguration: Hashable, Sendable {
  /// Ranges of layers, each on a device of its own.
  package var stages = 1
  /// Parts of every sequence's keys, each on a device of its own in every stage.
  package var contextSlices = 1
  /// Compute threads of each device; nil: its share of the physical cores.
  package var threadsPerDevice: Int?
  /// Sequences in the batch, at most.
  package var batchMax = 32
  /// Tokens of a step, at most: the size of a prompt's chunks.
  package var rowCountMax = 256
  /// Rows of a step that may give logits; nil: `batchMax`. `logits(of:)` needs one for each row.
  package var outputCountMax: Int?
  /// Prompt and output tokens of a sequence, at most; nil: what the model was made for.
  package var contextLength: Int?
  /// Memory of all devices together for keys and values; nil: `kvShareOfFreeMemory`, but no more
  /// than `batchMax` sequences of full length can use.
  package var kvMemoryBytes: Int?
  /// Bytes that the devices keep of one token's keys and values, in all layers together; nil: 32
  /// bits for each number.
  package var cacheBytesPerToken: Int?
  /// Tokens of a cache block.
  package var blockTokens = 16
  /// Whether sequences reuse computed blocks of equal prompts.
  package var reusesPrefixes = true
  /// Sequences that wait for their first step, at most.
  package var waitingSequencesMax = 256
  /// Tokens of their prompts, at most.
  package var waitingPromptTokensMax = 1 << 20
  /// What layers are weighed by when stages are cut.
  package var costModel = CostModel()

  package init() {}

  /// The part of the available memory that keys and values take if nothing is asked for. Weights
  /// are taken off before.
  package static let kvShareOfFreeMemory = 0.5
}
