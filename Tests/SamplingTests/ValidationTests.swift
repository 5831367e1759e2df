// SPDX-License-Identifier: Apache-2.0

import Step
import Support
import Testing

@Suite struct ValidationTests {
  private func error(_ change: (inout SamplingParameters) -> Void) -> ParameterError? {
    var parameters = SamplingParameters()
    change(&parameters)
    do {
      try parameters.validate(vocabularyCount: 100)
      return nil
    } catch {
      return error
    }
  }

  @Test("The neutral values and the edges of all ranges are allowed")
  func edgesAreAllowed() {
    #expect(error { _ in } == nil)
    let edges: [(inout SamplingParameters) -> Void] = [
      { $0.temperature = 0 }, { $0.topP = 1 }, { $0.topP = 1e-9 }, { $0.topK = 0 },
      { $0.topK = 1 << 31 }, { $0.minP = 0 }, { $0.minP = 1 }, { $0.repetitionPenalty = 1e-9 },
      { $0.presencePenalty = -2 }, { $0.presencePenalty = 2 }, { $0.frequencyPenalty = 2 },
      { $0.logitBias = [TokenBias(token: 99, bias: -100), TokenBias(token: 0, bias: 100)] },
      { $0.logprobs = 0 }, { $0.logprobs = 20 },
    ]
    for edge in edges { #expect(error(edge) == nil) }
  }

  @Test("A value outside its range is refused by the name of its field")
  func valuesOutsideAreRefused() {
    let cases: [(String, (inout SamplingParameters) -> Void)] = [
      ("temperature is -0.1; expected 0 or more", { $0.temperature = -0.1 }),
      ("temperature is nan; expected 0 or more", { $0.temperature = .nan }),
      ("temperature is inf; expected 0 or more", { $0.temperature = .infinity }),
      ("top_p is 1.5; expected over 0, to 1", { $0.topP = 1.5 }),
      ("top_p is 0.0; expected over 0, to 1", { $0.topP = 0 }),
      ("top_p is nan; expected over 0, to 1", { $0.topP = .nan }),
      ("top_k is -1; expected 0 or more", { $0.topK = -1 }),
      ("min_p is 1.01; expected 0 to 1", { $0.minP = 1.01 }),
      ("repetition_penalty is 0.0; expected over 0", { $0.repetitionPenalty = 0 }),
      ("presence_penalty is 2.5; expected -2 to 2", { $0.presencePenalty = 2.5 }),
      ("frequency_penalty is -3.0; expected -2 to 2", { $0.frequencyPenalty = -3 }),
      (
        "logit_bias[7] is 101.0; expected -100 to 100",
        { $0.logitBias = [TokenBias(token: 7, bias: 101)] }
      ),
      (
        "logit_bias is token 100; expected ids from 0 to 99",
        { $0.logitBias = [TokenBias(token: 100, bias: 1)] }
      ),
      ("logprobs is 21; expected 0 to 20", { $0.logprobs = 21 }),
    ]
    for (message, change) in cases {
      let error = error(change)
      #expect(error?.message == message)
      #expect(error?.code == .invalidArgument)
      #expect(error.map { message.hasPrefix($0.field) } == true)
    }
  }

  @Test("Stopping values are held to their ranges, and to each other")
  func stoppingIsValidated() throws {
    func message(_ stopping: StoppingParameters) -> String? {
      do {
        try stopping.validate(vocabularyCount: 100)
        return nil
      } catch {
        return error.message
      }
    }
    #expect(message(StoppingParameters(maxTokens: 1, minTokens: 1, stopTokens: [0, 99])) == nil)
    #expect(message(StoppingParameters(minTokens: 1000)) == nil)
    #expect(
      message(StoppingParameters(maxTokens: 0)) == "max_tokens is 0; expected 1 or more")
    #expect(
      message(StoppingParameters(maxTokens: 3, minTokens: 4))
        == "min_tokens is 4; expected at most max_tokens, which is 3")
    #expect(
      message(StoppingParameters(stopTokens: [100]))
        == "stop_token_ids is token 100; expected ids from 0 to 99")
  }
}
