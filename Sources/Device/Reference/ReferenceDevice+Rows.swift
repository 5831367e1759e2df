// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Program
internal import Support

/// Operations whose rows know nothing of each other.
extension ReferenceDevice {
  func embed(_ op: Embed) {
    let table = weights[op.table]
    let output = floats(op.output)
    for (row, token) in step.tokens.enumerated() {
      check((0..<op.table.rows).contains(Int(token)), "token \(token) is not of \(op.table)")
      output.row(row).update(from: table + Int(token) * output.width, count: output.width)
    }
  }

  func rmsNorm(_ op: RMSNorm) {
    let width = op.input.width
    let input = floats(op.input.value)
    let output = floats(op.output)
    let weight = weights[op.weight]
    for row in 0..<rowCount(of: op.output) {
      let x = input.row(row) + op.input.offset
      let meanSquare = dot(x, x, count: width) / Float(width)
      let inverse = 1 / (meanSquare + op.epsilon).squareRoot()
      for column in 0..<width { output.row(row)[column] = x[column] * inverse * weight[column] }
    }
  }

  func linear(_ op: Linear) {
    let input = floats(op.input)
    let output = floats(op.output)
    let bias = op.bias.map { weights[$0] }
    let rows = rowCount(of: op.output)
    multiply(input, by: weights[op.weight], rows: rows, into: output)
    guard let bias else { return }
    for row in 0..<rows { addMultiple(1, of: bias, to: output.row(row), count: output.width) }
  }

  /// `output = input · weightᵀ`, the weight being `[output.width, input.width]`. Its rows are
  /// walked once, for all rows of the step.
  func multiply(
    _ input: FloatMatrix, by weight: UnsafePointer<Float>, rows: Int, into output: FloatMatrix
  ) {
    for column in 0..<output.width {
      let weightRow = weight + column * input.width
      for row in 0..<rows {
        output.row(row)[column] = dot(input.row(row), weightRow, count: input.width)
      }
    }
  }

  func headwiseLinear(_ op: HeadwiseLinear) {
    let input = floats(op.input.value)
    let output = floats(op.output)
    let outputWidth = output.width / op.input.count
    let columns = op.weight.columns
    for row in 0..<rowCount(of: op.output) {
      for head in 0..<op.input.count {
        let x = input.row(row) + op.input.offset + head * op.input.stride
        let y = output.row(row) + head * outputWidth
        let headRows = weights[op.weight] + (head * op.rowsPerHead + op.rows.lowerBound) * columns
        switch op.direction {
        case .rowsToColumns:
          y.update(repeating: 0, count: columns)
          for index in 0..<op.rows.count {
            addMultiple(x[index], of: headRows + index * columns, to: y, count: columns)
          }
        case .columnsToRows:
          for index in 0..<op.rows.count {
            y[index] = dot(x, headRows + index * columns, count: columns)
          }
        }
      }
    }
  }

  func rope(_ op: Rope) {
    let value = floats(op.columns.value)
    let pairCount = op.columns.width / 2
    for (row, position) in step.positions.enumerated() {
      for pair in 0..<pairCount {
        let angle = Float(position) * op.table.inverseFrequencies[pair]
        let cosine = cosf(angle) * op.table.magnitude
        let sine = sinf(angle) * op.table.magnitude
        let (first, second) =
          op.layout == .interleaved ? (2 * pair, 2 * pair + 1) : (pair, pair + pairCount)
        for group in 0..<op.columns.count {
          let x = value.row(row) + op.columns.offset + group * op.columns.stride
          let (a, b) = (x[first], x[second])
          x[first] = a * cosine - b * sine
          x[second] = b * cosine + a * sine
        }
      }
    }
  }

  func swiglu(_ op: SwiGLU) {
    let gate = floats(op.gate)
    let up = floats(op.up)
    let output = floats(op.output)
    for row in 0..<rowCount(of: op.output) {
      gatedUnit(gate.row(row), up.row(row), into: output.row(row), count: output.width)
    }
  }

  /// `output = silu(gate) · up`.
  func gatedUnit(
    _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
    into output: UnsafeMutablePointer<Float>, count: Int
  ) {
    for index in 0..<count { output[index] = gate[index] / (1 + expf(-gate[index])) * up[index] }
  }

  func add(_ op: Add) {
    let left = floats(op.left)
    let right = floats(op.right)
    let output = floats(op.output)
    for row in 0..<rowCount(of: op.output) {
      for column in 0..<output.width {
        output.row(row)[column] = left.row(row)[column] + right.row(row)[column]
      }
    }
  }

  func join(_ op: Join) {
    let left = floats(op.left)
    let right = floats(op.right)
    let output = floats(op.output)
    for row in 0..<rowCount(of: op.output) {
      output.row(row).update(from: left.row(row), count: left.width)
      (output.row(row) + left.width).update(from: right.row(row), count: right.width)
    }
  }

  func selectOutputs(_ op: SelectOutputs) {
    let input = floats(op.input)
    let output = floats(op.output)
    for (index, row) in step.outputRows.enumerated() {
      output.row(index).update(from: input.row(row), count: output.width)
    }
  }
}
