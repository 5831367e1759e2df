// SPDX-License-Identifier: Apache-2.0

package import Checkpoint
package import Program
package import Support

/// The families of models that Silica runs, by the architecture that `config.json` names.
package enum Model {
  /// A family: how its programs are built from a configuration and the output matrix.
  private struct Family {
    typealias Build<Result> =
      @Sendable (ModelConfiguration, _ head: Weight) throws(CheckpointError) -> Result

    let architecture: String
    let program: Build<Program>
    var nextTokenProgram: Build<Program?> = { (_, _) throws(CheckpointError) in nil }
  }

  private static let families = [
    Family(architecture: "DeepseekV2ForCausalLM", program: DeepSeekV2.program),
    Family(
      architecture: "DeepseekV3ForCausalLM", program: DeepSeekV3.program,
      nextTokenProgram: DeepSeekV3.nextTokenProgram),
    Family(architecture: "LlamaForCausalLM", program: Llama.program),
    Family(architecture: "Qwen2ForCausalLM", program: Qwen2.program),
  ]

  /// What `program(for:)` knows.
  package static var architectures: [String] { families.map(\.architecture) }

  /// The program of a checkpoint, every weight of which is there and has the right shape.
  package static func program(for checkpoint: Checkpoint) throws(ModelError) -> Program {
    let family = try family(of: checkpoint)
    let program: Program
    do {
      program = try family.program(checkpoint.configuration, headWeight(of: checkpoint))
    } catch {
      throw ModelError(error.code, error.message)
    }
    try checkWeights(of: program, in: checkpoint)
    return program
  }

  /// The program that guesses the token after the next one, of a model that was trained with one
  /// (multi-token prediction). Beside a token it takes the hidden state that the last layer of
  /// `program(for:)` left at the token before it. Nil for other models, and for a checkpoint that
  /// leaves the layer out, as many do whose configuration still names it.
  package static func nextTokenProgram(
    for checkpoint: Checkpoint
  ) throws(ModelError) -> Program? {
    let family = try family(of: checkpoint)
    let program: Program?
    do {
      program = try family.nextTokenProgram(checkpoint.configuration, headWeight(of: checkpoint))
    } catch {
      throw ModelError(error.code, error.message)
    }
    guard let program, let layer = program.layers.first,
      program.operations[layer].flatMap(\.weights).contains(where: { checkpoint.contains($0.name) })
    else { return nil }
    try checkWeights(of: program, in: checkpoint)
    return program
  }

  /// The program of a model without weights, by the text of its `config.json`; `name` is what
  /// messages call it.
  package static func program(
    forConfiguration text: String, name: String
  ) throws(ModelError) -> Program {
    do {
      let parsed = Array(text.utf8).withUnsafeBytes { bytes in
        Result { () throws(CheckpointError) in
          try ConfigurationFields(file: name, parsing: bytes)
        }
      }
      let configuration = try ModelConfiguration(parsed.get())
      let family = try family(configuration.architecture, file: name)
      let hiddenSize = try configuration.fields.integer("hidden_size", 1...)
      return try family.program(
        configuration, Weight("lm_head.weight", [configuration.vocabularySize, hiddenSize]))
    } catch let error as ModelError {
      throw error
    } catch let error as CheckpointError {
      throw ModelError(error.code, error.message)
    } catch {
      throw ModelError(.internal, "\(error)")
    }
  }

  private static func family(of checkpoint: Checkpoint) throws(ModelError) -> Family {
    try family(checkpoint.configuration.architecture, file: "\(checkpoint.directory)/config.json")
  }

  private static func family(_ architecture: String, file: String) throws(ModelError) -> Family {
    guard let family = families.first(where: { $0.architecture == architecture }) else {
      throw ModelError(
        .unimplemented,
        "\(file): architectures holds '\(architecture)'; "
          + "expected one of \(architectures.joined(separator: ", "))")
    }
    return family
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
