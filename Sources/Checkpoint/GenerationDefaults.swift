// SPDX-License-Identifier: Apache-2.0

internal import Support

/// What `generation_config.json` says of sampling: the values that a request gets where it says
/// nothing itself. nil where the file says nothing either.
package struct GenerationDefaults: Hashable, Sendable {
  /// 0 where the file says `"do_sample": false`.
  package var temperature: Double?
  package var topK: Int?
  package var topP: Double?
  package var minP: Double?
  package var repetitionPenalty: Double?
  /// `eos_token_id`, one or a list.
  package var endTokenIDs: [Int] = []

  /// A model without the file.
  package init() {}

  package init(_ fields: ConfigurationFields) throws(CheckpointError) {
    temperature = try fields.optionalFloat("temperature", atLeast: 0)
    if try fields.optionalBool("do_sample") == false { temperature = 0 }
    topK = try fields.optionalInteger("top_k", 0...)
    topP = try Self.share(fields, "top_p")
    minP = try Self.share(fields, "min_p")
    repetitionPenalty = try fields.optionalFloat("repetition_penalty", above: 0)
    endTokenIDs = try fields.integers("eos_token_id")
  }

  private static func share(_ fields: ConfigurationFields, _ key: String) throws(CheckpointError)
    -> Double?
  {
    guard let value = try fields.optionalFloat(key, atLeast: 0) else { return nil }
    guard value <= 1 else { throw fields.invalid(key, expected: "a number from 0 to 1") }
    return value
  }
}
