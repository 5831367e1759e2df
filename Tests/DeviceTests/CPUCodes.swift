// SPDX-License-Identifier: Apache-2.0

/// What 8- and 4-bit weights and 8-bit activations stand for, computed one by one: the definition
/// that the kernels are compared with.
struct CPUCodes {
  /// Neighbouring values that share a scale.
  var group: Int
  /// The code of the value of largest magnitude.
  var largestCode: Float
  var codes: ClosedRange<Float>
  /// Whether the scale takes the sign of that value, so that it always gets `largestCode`.
  var isSigned = false
  /// Whether scales are rounded to bfloat16.
  var roundsScale = true

  static let activations = CPUCodes(
    group: 128, largestCode: 127, codes: -127...127, roundsScale: false)
  /// Of what a gated unit gives.
  static let gatedActivations = CPUCodes(
    group: 32, largestCode: 127, codes: -127...127, roundsScale: false)
  static let w8 = CPUCodes(group: 128, largestCode: 127, codes: -127...127)
  static let w4 = CPUCodes(group: 32, largestCode: -8, codes: -8...7, isSigned: true)

  /// A row as its codes give it back.
  func rounded(_ row: [Float]) -> [Float] {
    stride(from: 0, to: row.count, by: group).flatMap { start in
      roundedGroup(row[start..<min(row.count, start + group)])
    }
  }

  private func roundedGroup(_ values: ArraySlice<Float>) -> [Float] {
    var largest: Float = 0
    for value in values where abs(value) > abs(largest) { largest = value }
    var scale = (isSigned ? largest : abs(largest)) / largestCode
    if roundsScale { scale = CPURoundedWeights.nearest(scale) }
    guard scale != 0 else { return values.map { _ in 0 } }
    let inverse = roundsScale ? 1 / scale : largestCode / abs(largest)
    return values.map { value in
      let code = (value * inverse).rounded(.toNearestOrEven)
      return min(max(code, codes.lowerBound), codes.upperBound) * scale
    }
  }
}
