// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

/// A program whose keys are split over several devices ("context slices").
///
/// Slice 0 leads: it has all weights and runs every operation. The others have no weights and run
/// attention alone, over their own part of the keys. At each merge point the leader hands queries,
/// keys and values over, all slices attend, and the leader's output is replaced by the merge.
package struct ContextSlicing: Hashable, Sendable {
  /// The program of slice 0: attention also gives its log-sum-exp.
  package var leader: Program
  /// The program of the others: one operation for each merge point.
  package var follower: Program
  /// In order of operations.
  package var merges: [MergePoint]

  /// Rewrites a program, whole or a stage.
  package init(_ program: Program) {
    leader = program
    merges = []
    var exchange = ExchangeValues()
    for index in leader.operations.indices {
      guard let heads = leader.operations[index].attentionHeads else { continue }
      let logSumExp = leader.addValue(
        Value(label: "log-sum-exp", width: heads.count))
      let operation = leader.operations[index].withLogSumExp(logSumExp)
      leader.operations[index] = operation
      let attending = exchange.adopt(operation, of: leader)
      let output = operation.writes[0]
      merges.append(
        MergePoint(
          operation: index, heads: heads.count, width: heads.width,
          handOver: attending.handOver, output: output, logSumExp: logSumExp,
          followerOutput: attending.operation.writes[0],
          followerLogSumExp: attending.operation.writes[1]))
    }
    follower = exchange.follower(of: leader)
  }
}

/// Where the slices of an attention meet.
package struct MergePoint: Hashable, Sendable {
  /// A value of the leader, and its copy in the follower's program.
  package struct HandOver: Hashable, Sendable {
    package var leader: ValueID
    package var follower: ValueID
    package var width: Int
  }

  /// The attention's place in the leader's program. In the follower's program it is the place of
  /// this merge point in `ContextSlicing.merges`.
  package var operation: Int
  package var heads: Int
  /// Columns of one head's output.
  package var width: Int
  /// What the attention reads: to be copied to the followers before they run it.
  package var handOver: [HandOver]
  package var output: ValueID
  package var logSumExp: ValueID
  package var followerOutput: ValueID
  package var followerLogSumExp: ValueID
}

/// Builds the follower's program. All layers share the values of one shape, since a follower has
/// one attention in work at a time.
private struct ExchangeValues {
  private struct Role: Hashable {
    var place: Int
    var width: Int
  }

  private var names: [Role: ValueID] = [:]
  private var values: [Value] = []
  private var operations: [Operation] = []

  /// Appends an attention of the leader to the follower's program.
  mutating func adopt(
    _ operation: Operation, of leader: Program
  ) -> (operation: Operation, handOver: [MergePoint.HandOver]) {
    var handOver: [MergePoint.HandOver] = []
    var renaming: [ValueID: ValueID] = [:]
    for value in operation.reads + operation.writes where renaming[value] == nil {
      let follower = name(Role(place: renaming.count, width: leader[value].width), leader[value])
      renaming[value] = follower
      if !operation.writes.contains(value) {
        handOver.append(
          MergePoint.HandOver(leader: value, follower: follower, width: leader[value].width))
      }
    }
    let renamed = operation.renamed(value: { renaming[$0] ?? $0 }, cache: { $0 })
    operations.append(renamed)
    return (renamed, handOver)
  }

  private mutating func name(_ role: Role, _ value: Value) -> ValueID {
    if let name = names[role] { return name }
    let name = ValueID(index: values.count)
    names[role] = name
    values.append(value)
    return name
  }

  func follower(of leader: Program) -> Program {
    var program = leader
    program.values = values
    program.operations = operations
    program.layers = operations.indices.map { $0..<$0 + 1 }
    if let first = operations.first, let last = operations.last {
      program.input = .hidden(first.reads[0])
      program.output = .hidden(last.writes[0])
    }
    return program
  }
}

extension Program {
  fileprivate mutating func addValue(_ value: Value) -> ValueID {
    values.append(value)
    return ValueID(index: values.count - 1)
  }
}

extension Operation {
  fileprivate func withLogSumExp(_ value: ValueID) -> Operation {
    switch self {
    case .attention(var op):
      op.logSumExp = value
      return .attention(op)
    case .latentAttention(var op):
      op.logSumExp = value
      return .latentAttention(op)
    default:
      return self
    }
  }
}
