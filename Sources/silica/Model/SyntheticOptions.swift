// SPDX-License-Identifier: Apache-2.0

import Synthetic

/// The options that `--model synthetic` has beside those of every model.
enum SyntheticOptions {
  /// The value of `--model` that asks for one; a folder of that name is `./synthetic`.
  static let name = "synthetic"

  static let options = [
    Option(
      "--token-rate", "N", "synthetic: tokens/s of each generation", default: "as many as can be"),
    Option(
      "--prefill-rate", "N", "synthetic: prompt tokens/s of all generations",
      default: "as many as can be"),
    Option("--token-bytes", "N", "synthetic: bytes of text in a token", default: "4"),
    Option(
      "--step-wait", "NAME",
      "synthetic: how a step's end is waited for: sleep, or spin, which takes a core as a GPU does",
      default: "sleep"),
  ]

  /// What is left to say of it in a help page.
  static let discussion = """
    '--model synthetic' needs no checkpoint: it generates text of a given size at a given speed, and
    everything but the device and the tokenizer is what a real model goes through. With it, load
    can be tried and a deployment be sized before there is a machine for the model.
    """

  /// The synthetic model that was asked for; nil if a checkpoint was.
  static func read(_ arguments: Arguments) throws(UsageError) -> SyntheticConfiguration? {
    guard arguments.string("--model") == name else {
      if let option = options.first(where: { arguments.has($0.name) }) {
        throw UsageError("\(option.name) goes with --model \(name)")
      }
      return nil
    }
    for option in ["--device", "--precision", "--kv-precision", "--mla-prefill", "--threads"]
    where arguments.has(option) {
      throw UsageError("\(option) does not go with --model \(name), whose device is synthetic too")
    }
    for option in ["--stages", "--context-slices"] {
      let count = try arguments.integer(option, in: 1...1_024) ?? 1
      guard count == 1 else {
        throw UsageError("\(option) is '\(count)'; --model \(name) runs on one device: expected 1")
      }
    }
    var configuration = SyntheticConfiguration()
    configuration.tokenRate = try rate("--token-rate", arguments)
    configuration.prefillRate = try rate("--prefill-rate", arguments)
    configuration.tokenBytes =
      try arguments.integer("--token-bytes", in: SyntheticConfiguration.tokenBytesRange)
      ?? configuration.tokenBytes
    let waits = StepWait.allCases.map(\.rawValue)
    if let wait = try arguments.choice("--step-wait", of: waits).flatMap(StepWait.init) {
      configuration.wait = wait
    }
    // It is made for whatever length is asked for.
    configuration.contextLength =
      try arguments.integer("--context-length", in: 2...contextLengthMax)
      ?? configuration.contextLength
    return configuration
  }

  /// Far beyond any model, and no more than the tables of cache blocks can be made for.
  private static let contextLengthMax = 1 << 24

  private static func rate(_ name: String, _ arguments: Arguments) throws(UsageError) -> Double? {
    guard let rate = try arguments.float(name).map(Double.init) else { return nil }
    let range = SyntheticConfiguration.rateRange
    guard range.contains(rate) else {
      throw UsageError(
        "\(name) is '\(arguments.string(name) ?? "")'; expected \(range.lowerBound) to "
          + "\(Int(range.upperBound))")
    }
    return rate
  }
}
