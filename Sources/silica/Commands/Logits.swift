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
    ]

  static let discussion = """
    The tokens go through the same steps, slices and device as a request. Compare with another
    implementation's logits, or one device, precision or slice plan with another.

    example:
      silica logits --model DIR --tokens 1,2,3 --out logits.npy --device reference
    """

  static func run(_ arguments: Arguments) throws {
    let options = try ModelOptions(arguments, batchMax: 1)
    guard let tokens = try arguments.integers("--tokens", in: 0...Int(Int32.max)) else {
      throw UsageError("--tokens is required")
    }
    let path = try arguments.required("--out")
    let model = try LoadedModel(options, givesAllLogits: true)
    defer { model.engine.shutdown() }
    let vocabulary = model.engine.vocabularySize
    if let wrong = tokens.first(where: { $0 >= vocabulary }) {
      throw CommandError("--tokens holds \(wrong); expected ids from 0 to \(vocabulary - 1)")
    }
    let logits = try model.engine.logits(of: tokens.map { Int32($0) })
    try NumPyFile.write(logits, shape: [tokens.count, vocabulary], to: path)
  }
}
