// SPDX-License-Identifier: Apache-2.0

import Device
import Engine
import Step
import Topology

/// An engine on fake devices.
struct FakeEngine {
  /// What its devices draw themselves.
  enum Drawing { case none, largest, all }

  let script: FakeDevice.Script
  let engine: Engine

  init(
    script: FakeDevice.Script = FakeDevice.Script(), contextLength: Int = 512,
    drawing: Drawing = .none,
    _ configure: (inout EngineConfiguration) -> Void = { _ in }
  ) throws {
    var configuration = EngineConfiguration()
    configuration.blockTokens = 4
    configure(&configuration)
    self.script = script
    engine = try Engine.start(
      FakeDevice.program(contextLength: contextLength), from: NoWeights(),
      devices: { _ throws(DeviceError) in
        switch drawing {
        case .none: FakeDevice(script)
        case .largest: DrawingDevice(script, drawsAtRandom: false)
        case .all: DrawingDevice(script, drawsAtRandom: true)
        }
      }, configuration: configuration,
      topology: Topology.current())
  }

  /// The bytes of so many cache blocks of 4 tokens.
  static func blockBytes(_ count: Int) -> Int { count * 4 * 8 * 4 }
}

extension SequenceSubmission {
  /// A greedy sequence of so many tokens.
  static func greedy(_ prompt: [Int32], tokens: Int) -> SequenceSubmission {
    var sampling = SamplingParameters()
    sampling.temperature = 0
    return SequenceSubmission(
      prompt: prompt, sampling: sampling, stopping: StoppingParameters(maxTokens: tokens))
  }
}
