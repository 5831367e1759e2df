// SPDX-License-Identifier: Apache-2.0

package import Program
package import Text

/// A model without a checkpoint: text of a given size at a given speed, and nothing to load.
///
/// Its program has the shape that engine and cache need to know; `SyntheticDevice` does not compute
/// it, but gives the tokens that the model is defined by. Prompts of any text are taken, a token
/// for each byte.
package struct SyntheticModel: Sendable {
  package let configuration: SyntheticConfiguration

  package init(_ configuration: SyntheticConfiguration) { self.configuration = configuration }

  /// As `config.json` would name it.
  package static let architecture = "Synthetic"

  // MARK: Text

  /// Different tokens that come out.
  static let wordCount = 26
  /// Tokens of the tokenizer that each stand for one byte.
  static let byteCount = 256

  /// The tokens that come out, all of `tokenBytes` bytes.
  var words: Range<Int32> {
    let first = configuration.tokenBytes == 1 ? Int(UInt8(ascii: "a")) : Self.byteCount
    return Int32(first)..<Int32(first + Self.wordCount)
  }

  package var vocabularySize: Int { max(Self.byteCount, Int(words.upperBound)) }

  /// A tokenizer whose tokens are all bytes, and the words that come out: " abc", " bcd" and so on.
  /// A conversation is written as DeepSeek-V2 does it, which needs no token of its own.
  package func tokenizer() throws(TokenizerError) -> Tokenizer {
    var text = TokenizerConfiguration()
    text.chatTemplate = "{{ 'User: ' + message['content'] }}{{ 'Assistant:' }}"
    let texts = configuration.tokenBytes == 1 ? [] : (0..<Self.wordCount).map(word)
    return try Tokenizer(bytesAnd: texts, configuration: text)
  }

  private func word(_ number: Int) -> String {
    let letters = (0..<configuration.tokenBytes - 1).map { offset in
      UInt8(ascii: "a") + UInt8((number + offset) % Self.wordCount)
    }
    return " " + String(decoding: letters, as: UTF8.self)
  }

  // MARK: Shape

  /// A layer of attention between an embedding and a head. Its cache is two floats a token, as many
  /// bytes as the device keeps.
  package func program() -> Program {
    var builder = ProgramBuilder()
    var hidden = builder.embed(Weight("embedding", [vocabularySize, 1]))
    builder.layer { builder in
      let all = builder.all(of: hidden)
      hidden = builder.attention(queries: all, keys: all, values: all, scale: 1)
    }
    let logits = builder.linear(
      builder.selectOutputs(hidden), Weight("head", [vocabularySize, 1]))
    return builder.finish(
      name: "synthetic", vocabularySize: vocabularySize,
      contextLength: configuration.contextLength, logits: logits)
  }
}

/// The weights of a synthetic model: all zero, and never read.
package final class SyntheticWeights: WeightSource, @unchecked Sendable {  // memory never changes
  private let zeros: UnsafeMutableBufferPointer<Float>

  /// Room for the largest weight of `program`.
  package init(for program: Program) {
    let count = program.weights.map(\.elementCount).max() ?? 0
    zeros = .allocate(capacity: count)
    zeros.initialize(repeating: 0)
  }

  deinit { zeros.deallocate() }

  package func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    guard weight.elementCount <= zeros.count else {
      throw WeightError("\(weight) is no weight of a synthetic model")
    }
    return StoredTensor(
      weight: weight, type: .float32,
      bytes: UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: zeros[..<weight.elementCount])),
      scales: nil, owner: self)
  }
}
