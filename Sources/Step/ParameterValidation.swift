// SPDX-License-Identifier: Apache-2.0

package import Support

/// A sampling or stopping value that is not allowed.
package struct ParameterError: OperatingError, Hashable {
  /// The field's name in the service: "top_p".
  package var field: String
  package var message: String
  package var code: ErrorCode { .invalidArgument }

  package init(field: String, holds value: some CustomStringConvertible, expected: String) {
    self.field = field
    message = "\(field) is \(value); expected \(expected)"
  }
}

extension SamplingParameters {
  /// Throws at the first value outside its range. Not-a-number is outside every range.
  package func validate(vocabularyCount: Int) throws(ParameterError) {
    try require(temperature >= 0 && temperature.isFinite, "temperature", temperature, "0 or more")
    try require(topP > 0 && topP <= 1, "top_p", topP, "over 0, to 1")
    try require(topK >= 0, "top_k", topK, "0 or more")
    try require(minP >= 0 && minP <= 1, "min_p", minP, "0 to 1")
    try require(
      repetitionPenalty > 0 && repetitionPenalty.isFinite, "repetition_penalty", repetitionPenalty,
      "over 0")
    try require(abs(presencePenalty) <= 2, "presence_penalty", presencePenalty, "-2 to 2")
    try require(abs(frequencyPenalty) <= 2, "frequency_penalty", frequencyPenalty, "-2 to 2")
    for entry in logitBias {
      let field = "logit_bias[\(entry.token)]"
      try requireToken(entry.token, "logit_bias", vocabularyCount)
      try require(abs(entry.bias) <= 100, field, entry.bias, "-100 to 100")
    }
    if let logprobs {
      let range = 0...SamplingParameters.logprobsMax
      try require(
        range.contains(logprobs), "logprobs", logprobs, "0 to \(SamplingParameters.logprobsMax)")
    }
  }
}

extension StoppingParameters {
  /// Throws at the first value outside its range.
  package func validate(vocabularyCount: Int) throws(ParameterError) {
    if let maxTokens {
      try require(maxTokens >= 1, "max_tokens", maxTokens, "1 or more")
      try require(
        minTokens <= maxTokens, "min_tokens", minTokens, "at most max_tokens, which is \(maxTokens)"
      )
    }
    try require(minTokens >= 0, "min_tokens", minTokens, "0 or more")
    for token in stopTokens { try requireToken(token, "stop_token_ids", vocabularyCount) }
  }
}

private func require(
  _ isAllowed: Bool, _ field: String, _ value: some CustomStringConvertible, _ expected: String
) throws(ParameterError) {
  if !isAllowed { throw ParameterError(field: field, holds: value, expected: expected) }
}

private func requireToken(_ token: Int32, _ field: String, _ vocabularyCount: Int)
  throws(ParameterError)
{
  try require(
    token >= 0 && Int(token) < vocabularyCount, field, "token \(token)",
    "ids from 0 to \(vocabularyCount - 1)")
}
