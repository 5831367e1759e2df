// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Models
import Program
import TestSupport
import Testing

/// Weights that a GPU has no memory for.
@Suite struct CUDAOverflowTests {
  private let program: Program
  private let bytes: [Int]

  init() throws {
    let golden = try SyntheticCheckpoint("v3-deep")
    program = try Model.program(for: try Checkpoint(directory: golden.directory))
    bytes = program.operations.map { operation in
      operation.weights.reduce(0) { $0 + $1.elementCount * 2 }
    }
  }

  /// Operations with weights of one kind, the last first.
  private func places(_ isOfKind: (Operation) -> Bool) -> [Int] {
    program.operations.indices.reversed().filter {
      bytes[$0] > 0 && isOfKind(program.operations[$0])
    }
  }

  @Test func `embeddings go first, then experts from the last layer on, then all else`() {
    let embeddings = places { if case .embed = $0 { true } else { false } }
    let experts = places { if case .experts = $0 { true } else { false } }
    let others = places {
      switch $0 {
      case .embed, .experts: false
      default: true
      }
    }
    #expect(embeddings.count == 1 && experts.count > 2)
    let order = embeddings + experts + others
    for count in 1...order.count {
      let missing = order.prefix(count).reduce(0) { $0 + bytes[$1] }
      let outside = OutsideWeights(program, bytes, missing: missing)
      #expect(outside.operations == Set(order.prefix(count)))
      #expect(outside.byteCount == missing)
      #expect(OutsideWeights(program, bytes, missing: missing - 1).operations.count == count)
    }
    let total = bytes.reduce(0, +)
    #expect(OutsideWeights(program, bytes, missing: .max).byteCount == total)
    #expect(OutsideWeights(program, bytes, missing: 0).operations.isEmpty)
  }

  @Test func `what lies outside is said, with its bytes and what is not known`() throws {
    #expect(OutsideWeights().note(gpu: 1) == nil)
    let embedding = try #require(bytes.first { $0 > 0 })
    let note = try #require(OutsideWeights(program, bytes, missing: embedding + 1).note(gpu: 1))
    for words in ["outside cuda:1", "the embeddings, the experts of the last layer", "measured"] {
      #expect(note.contains(words), "\(note)")
    }
  }
}
