// SPDX-License-Identifier: Apache-2.0

package import Engine
package import Step
package import Text

/// The model behind a server, with everything a request is checked against. Immutable; shared by
/// all threads.
package struct ServedModel: Sendable {
  package var name: String
  package var architecture: String
  package var tokenizer: Tokenizer
  /// What unset sampling values mean: `generation_config.json`, else the neutral values.
  package var defaultSampling: SamplingParameters
  /// Tokens that end a generation unless it ignores them.
  package var endTokens: [Int32]
  /// Rows of the model's vocabulary; token ids are below it.
  package var vocabularySize: Int { engine.vocabularySize }
  /// Prompt and output tokens of one sequence, at most.
  package var contextLength: Int { engine.contextLength }
  /// For people: "cpu (avx512, 2 threads, bf16)".
  package var device: String
  package var engine: Engine
  /// `<think>` and `</think>`; nil if the model has no such tokens.
  package let thinking: ThinkingTokens?

  package init(
    name: String, architecture: String, tokenizer: Tokenizer,
    defaultSampling: SamplingParameters, endTokens: [Int32], device: String, engine: Engine
  ) {
    self.name = name
    self.architecture = architecture
    self.tokenizer = tokenizer
    self.defaultSampling = defaultSampling
    self.endTokens = endTokens
    self.device = device
    self.engine = engine
    if let begin = tokenizer.token("<think>"), let end = tokenizer.token("</think>"),
      Int(end) < engine.vocabularySize
    {
      thinking = ThinkingTokens(begin: begin, end: end)
    } else {
      thinking = nil
    }
  }
}
