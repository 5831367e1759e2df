// SPDX-License-Identifier: Apache-2.0

internal import Step
internal import Synchronization

/// What runs elsewhere for one generation: its prompt on the aux thread, then one sequence for each
/// choice in the engine. Made by `Dispatcher.start`.
final class EngineWork: @unchecked Sendable {  // all but the flag is confined to the poller
  let owner: any GenerationOwner
  /// The owner's name for the generation.
  let generation: UInt32
  /// One for each choice; empty until the prompt is tokenised.
  var sequences: [SequenceID] = []
  private let abandoned = Atomic<Bool>(false)

  init(owner: any GenerationOwner, generation: UInt32) {
    self.owner = owner
    self.generation = generation
  }

  /// Whether nobody waits for it any more. Any thread.
  var isAbandoned: Bool { abandoned.load(ordering: .relaxed) }

  func markAbandoned() { abandoned.store(true, ordering: .relaxed) }
}
