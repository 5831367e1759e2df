// SPDX-License-Identifier: Apache-2.0

import Engine

/// `silica logits`.
enum Logits: Subcommand {
  static let name = "logits"
  static let summary = "write the logits after each of some tokens to a file"

  static let options =
    ModelOptions.options + [
      Option("--tokens", "IDS", "token ids divided by commas"),
      Option("--out", "FILE", "a NumPy file: f32 [tokens, vocabulary]"),
      Option(
        "--after-next", nil,
        "of the token after the next instead, by the model's layer for multi-token prediction: "
          + "f32 [tokens - 1, vocabulary]"),
    ]

  static let discussion = """
    The tokens go through the same steps, slices and device as a request. Compare with another
    implementation's logits, or one device, precision or slice plan with another. With --after-next
    they are one step, on one device of each kind; the step's memory grows with the tokens.

    example:
      silica logits --model DIR --tokens 1,2,3 --out logits.npy --device reference
    """

  static func run(_ arguments: Arguments) throws {
    let options = try ModelOptions(arguments, batchMax: 1)
    guard let tokens = try arguments.integers("--tokens", in: 0...Int(Int32.max)) else {
      throw UsageError("--tokens is required")
    }
    let path = try arguments.required("--out")
    if arguments.has("--after-next") {
      return try writeAfterNext(tokens, options, to: path)
    }
    let model = try LoadedModel(options, givesAllLogits: true)
    defer { model.engine.shutdown() }
    let vocabulary = model.engine.vocabularySize
    let logits = try model.engine.logits(of: checked(tokens, vocabulary))
    try NumPyFile.write(logits, shape: [tokens.count, vocabulary], to: path)
  }

  private static func writeAfterNext(
    _ tokens: [Int], _ options: ModelOptions, to path: String
  ) throws {
    guard options.stages == 1, options.contextSlices == 1, options.synthetic == nil else {
      throw UsageError("--after-next goes with a checkpoint, one stage and one context slice")
    }
    guard tokens.count > 1 else {
      throw UsageError("--tokens holds \(tokens.count) id; --after-next needs at least 2")
    }
    let model = try NextTokenLogits(options)
    guard tokens.count <= model.contextLength else {
      throw CommandError(
        "--tokens holds \(tokens.count) ids; the model takes \(model.contextLength)")
    }
    let logits = try model.logits(of: checked(tokens, model.vocabularySize))
    try NumPyFile.write(logits, shape: [tokens.count - 1, model.vocabularySize], to: path)
  }

  private static func checked(_ tokens: [Int], _ vocabulary: Int) throws(CommandError) -> [Int32] {
    if let wrong = tokens.first(where: { $0 >= vocabulary }) {
      throw CommandError("--tokens holds \(wrong); expected ids from 0 to \(vocabulary - 1)")
    }
    return tokens.map { Int32($0) }
  }
}
