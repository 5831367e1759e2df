// SPDX-License-Identifier: Apache-2.0

package import Checkpoint
package import Program
package import Support

/// The families of models that Silica runs, by the architecture that `config.json` names.
package enum Model {
  /// Builds a family's program from its configuration; the second argument is the output matrix.
  private typealias Builder =
    @Sendable (ModelConfiguration, _ head: Weight) throws(CheckpointError) -> Program

  private static let builders: [(architecture: String, build: Builder)] = [
    ("DeepseekV2ForCausalLM", DeepSeekV2.program),
    ("DeepseekV3ForCausalLM", DeepSeekV3.program),
    ("LlamaForCausalLM", Llama.program),
    ("Qwen2ForCausalLM", Qwen2.program),
  ]

  /// What `program(for:)` knows.
  package static var architectures: [String] { builders.map(\.architecture) }

  /// The program of a checkpoint, every weight of which is there and has the right shape.
  package static func program(for checkpoint: Checkpoint) throws(ModelError) -> Program {
    let configuration = checkpoint.configuration
    guard
      let builder = builders.first(where: { $0.architecture == configuration.architecture })
    else {
      throw ModelError(
        .unimplemented,
        "\(checkpoint.directory)/config.json: architectures holds '\(configuration.architecture)'; "
          + "expected one of \(architectures.joined(separator: ", "))")
    }
    let program: Program
    do {
      program = try builder.build(configuration, headWeight(of: checkpoint))
    } catch {
      throw ModelError(error.code, error.message)
    }
    try checkWeights(of: program, in: checkpoint)
    return program
  }

  /// The matrix that makes logits: `lm_head.weight`, or the embedding where a checkpoint with tied
  /// embeddings does not repeat it. What is stored decides, not what the configuration says.
  private static func headWeight(of checkpoint: Checkpoint) throws(CheckpointError) -> Weight {
    let configuration = checkpoint.configuration
    let isStored = checkpoint.contains("lm_head.weight")
    let shape = [
      configuration.vocabularySize, try configuration.fields.integer("hidden_size", 1...),
    ]
    return Weight(isStored ? "lm_head.weight" : "model.embed_tokens.weight", shape)
  }

  /// Weights named in one message, at most.
  private static let reportedProblemsMax = 5

  private static func checkWeights(
    of program: Program, in checkpoint: Checkpoint
  ) throws(ModelError) {
    var problems: [String] = []
    for weight in program.weights {
      do { _ = try checkpoint.tensor(weight) } catch { problems.append(error.message) }
    }
    guard !problems.isEmpty else { return }
    let shown = problems.prefix(reportedProblemsMax).joined(separator: "; ")
    let rest = problems.count - reportedProblemsMax
    throw ModelError(.failedPrecondition, shown + (rest > 0 ? "; and \(rest) more" : ""))
  }
}

/// A checkpoint that is no model that Silica runs, or lacks a part of one.
package struct ModelError: OperatingError, Hashable {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
