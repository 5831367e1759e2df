// SPDX-License-Identifier: Apache-2.0

import Step
import Support

/// The sequences that have not ended, in numbered slots that are used again.
struct SequenceSlab: Sendable {
  private var states: [SequenceState] = []
  private var isUsed: [Bool] = []
  private var freeSlots: [Int] = []
  /// By the numbers of their ids.
  private var slotOfID = NumberTable<Int>()

  var count: Int { slotOfID.count }
  /// Slots in use, in rising order.
  var slots: [Int] { isUsed.indices.filter { isUsed[$0] } }

  /// Whether a slot that some sequence had is one's still, be it another's.
  func holds(_ slot: Int) -> Bool { isUsed[slot] }

  func slot(of id: SequenceID) -> Int? { slotOfID[id.value] }

  subscript(slot: Int) -> SequenceState {
    _read {
      check(isUsed[slot], "slot \(slot) is empty")
      yield states[slot]
    }
    _modify {
      check(isUsed[slot], "slot \(slot) is empty")
      yield &states[slot]
    }
  }

  mutating func insert(_ state: SequenceState) -> Int {
    check(slotOfID[state.id.value] == nil, "\(state.id) is scheduled twice")
    let slot = freeSlots.popLast() ?? states.count
    if slot == states.count {
      states.append(state)
      isUsed.append(true)
    } else {
      states[slot] = state
      isUsed[slot] = true
    }
    slotOfID[state.id.value] = slot
    return slot
  }

  mutating func remove(_ slot: Int) {
    slotOfID[self[slot].id.value] = nil
    states[slot].tokens = []
    isUsed[slot] = false
    freeSlots.append(slot)
  }
}
