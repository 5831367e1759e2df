// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Synchronization

/// What runs elsewhere for one generation: its prompt on the aux thread, then one sequence for each
/// choice in the engine. Made by `Dispatcher.start`.
final class EngineWork: @unchecked Sendable {  // all but the flag is confined to the poller
  /// Who hears of it; nobody once it is abandoned.
  private(set) var owner: (any GenerationOwner)?
  /// One for each choice; empty until the prompt is tokenised.
  var sequences: [SequenceID] = []
  var promptTokens = 0
  private let abandoned = Atomic<Bool>(false)

  init(owner: any GenerationOwner) { self.owner = owner }

  /// Whether nobody waits for it any more. Any thread.
  var isAbandoned: Bool { abandoned.load(ordering: .relaxed) }

  func markAbandoned() {
    abandoned.store(true, ordering: .relaxed)
    // The owner knows its work, so one of them has to let go of the other.
    owner = nil
  }
}

/// Who a generation belongs to. Called on the poller; never about work that it abandoned.
protocol GenerationOwner: AnyObject {
  /// The prompt is tokenised and the sequences are in the engine, or the generation was refused.
  func admitted(_ result: Result<Generation.Admission, ServingError>)
  /// The engine says something of a choice.
  func received(_ event: SequenceEvent, choice: Int)
  /// What arrived has been passed on: send what can be sent.
  func pump()
}
