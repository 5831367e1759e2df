// SPDX-License-Identifier: Apache-2.0

internal import CKernels
package import Program

/// The bytes of packed weights that a CPU device reads in a step.
package struct WeightTraffic: Hashable, Sendable {
  /// Read in every step.
  package private(set) var denseBytes = 0
  /// Each set of routed experts: how many there are, how many a row takes, bytes of one.
  private var experts: [ExpertTraffic] = []

  private struct ExpertTraffic: Hashable, Sendable {
    var count: Int
    var topK: Int
    var bytes: Int
  }

  /// Looks at how the weights are stored; loads none of them.
  package init(
    _ program: Program, from source: any WeightSource, precision: CPUPrecision
  ) throws(WeightError) {
    for operation in program.operations {
      switch operation {
      case .linear(let op):
        denseBytes += try Self.bytes(op.weight, source, precision)
      case .headwiseLinear(let op):
        let type = WeightPacker.headType(of: try source.tensor(op.weight), precision)
        let whole = op.weight.elementCount * (type == CK_BF16 ? 2 : 4)
        denseBytes += whole * op.rows.count / op.rowsPerHead
      case .route(let op):
        denseBytes += op.weight.elementCount * 4
      case .experts(let op):
        guard let first = op.experts.first else { continue }
        var bytes = 0
        for weight in [first.gate, first.up, first.down] {
          bytes += try Self.bytes(weight, source, precision)
        }
        experts.append(
          ExpertTraffic(count: op.experts.count, topK: program[op.routing].width, bytes: bytes))
      default: continue
      }
    }
  }

  /// Bytes of a step of so many rows. Of routed experts, as many as are hit if every row chooses at
  /// random.
  package func bytesPerStep(rows: Int) -> Int {
    experts.reduce(denseBytes) { sum, set in
      var missed = 1.0
      for _ in 0..<rows { missed *= 1 - Double(set.topK) / Double(set.count) }
      return sum + Int(Double(set.count * set.bytes) * (1 - missed))
    }
  }

  private static func bytes(
    _ weight: Weight, _ source: any WeightSource, _ precision: CPUPrecision
  ) throws(WeightError) -> Int {
    let tensor = try source.matrix(weight)
    let type = WeightPacker.type(of: tensor, precision)
    let (inner, columns) = (weight.columns, weight.rows)
    var bytes = PackedMatrix.panelBytes(type, inner: inner, columns: columns)
    if type == CK_INT8 || type == CK_INT4 {
      var group = tensor.panels?.group ?? 0
      if group == 0 { group = try PackedMatrix.productGroup(of: tensor) }
      // A scale of four bytes, and a zero.
      bytes += 5 * PackedMatrix.factorCount(group: group, inner: inner, columns: columns)
    }
    if type == CK_FP8 { bytes += 4 * columns * ((inner + 127) / Int(CK_CODE_GROUP)) }
    return bytes
      + 2 * PackedMatrix.scaleCount(type, inner: inner, columns: columns)
  }
}
