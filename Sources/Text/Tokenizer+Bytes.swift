// SPDX-License-Identifier: Apache-2.0

import Support

extension Tokenizer {
  /// A tokenizer without a file: every byte of a text is a token, whose id is its value; `words`
  /// follow as tokens 256 and up, which no text is turned into.
  ///
  /// - Parameter words: all different, and none of a single byte.
  package convenience init(
    bytesAnd words: [String], configuration: TokenizerConfiguration = TokenizerConfiguration()
  ) throws(TokenizerError) {
    var vocabulary = JSONObject()
    let bytes = (UInt8.min...UInt8.max).map { [$0] }
    for (id, token) in (bytes + words.map { Array($0.utf8) }).enumerated() {
      let name = ByteAlphabet.name(of: token)
      guard vocabulary.append(name, .integer(id)) else {
        throw TokenizerError("'\(name)' is two tokens; expected words that differ")
      }
    }
    // As a file would say it, so that it is checked and used in the same way.
    let document: JSON = [
      "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
      "decoder": ["type": "ByteLevel"],
      "model": ["type": "BPE", "vocab": .object(vocabulary), "merges": []],
    ]
    self.init(try TokenizerFile(document), configuration: configuration)
  }
}
