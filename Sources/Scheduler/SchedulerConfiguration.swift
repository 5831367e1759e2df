// SPDX-License-Identifier: Apache-2.0

import Support

/// What a scheduler has to share out, and every limit it keeps.
package struct SchedulerConfiguration: Hashable, Sendable {
  /// Prompts hold ids below this.
  package var vocabularyCount: Int
  /// Prompt and generated tokens of a sequence, at most.
  package var contextLength: Int
  /// Tokens of a cache block.
  package var blockTokens: Int
  /// Cache blocks of each context slice.
  package var blockCount: Int
  package var contextSlices = 1
  /// Rows of a step, at most.
  package var rowCountMax = 512
  /// Rows of a step that compute prompts, at most: it bounds how long a prompt holds up others.
  package var prefillChunkMax = 256
  /// Sequences in the batch, at most.
  package var sequenceCountMax = 32
  /// Rows of a step that give logits, at most; no less than sequences in the batch.
  package var outputCountMax = 32
  /// Whether sequences take over computed blocks of equal prefixes.
  package var reusesPrefixes = true
  /// Plans under way at once: as many as the pipeline has stages.
  package var planInFlightMax = 1
  /// Sequences that are taken in and outside the batch, at most.
  package var waitingCountMax = 1024
  /// Their prompt tokens, at most. One request may exceed it when nothing else waits.
  package var waitingPromptTokensMax = 1 << 20
  /// After losing its blocks so often, a sequence goes before all that did not.
  package var preemptionCountMax = 2

  package init(vocabularyCount: Int, contextLength: Int, blockTokens: Int, blockCount: Int) {
    self.vocabularyCount = vocabularyCount
    self.contextLength = contextLength
    self.blockTokens = blockTokens
    self.blockCount = blockCount
  }

  func checkRanges() {
    check(contextLength > 1, "contextLength \(contextLength)")
    check(prefillChunkMax > 0, "prefillChunkMax \(prefillChunkMax)")
    check(rowCountMax > 0, "rowCountMax \(rowCountMax)")
    check(sequenceCountMax > 0, "sequenceCountMax \(sequenceCountMax)")
    check(outputCountMax >= sequenceCountMax, "outputCountMax \(outputCountMax)")
    check(planInFlightMax > 0, "planInFlightMax \(planInFlightMax)")
    check(waitingCountMax > 0, "waitingCountMax \(waitingCountMax)")
  }
}
