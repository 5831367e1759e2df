// SPDX-License-Identifier: Apache-2.0

package import Device
internal import Program
internal import Sampling
package import Step
internal import Support

/// Tokens that a device draws from rows of logits, beside those that the host draws.
package final class DrawComparison {
  /// What logits are like.
  package enum Shape: CaseIterable, Sendable {
    case spread
    /// A few far above the rest.
    case peaked
    /// Few values, each many times.
    case tied
    case equal
    /// As large as there are, of both signs.
    case huge
  }

  private let device: any TokenDrawer
  private let width: Int
  private let value: ValueID
  private var workspace = SamplingWorkspace()

  /// Loads a program with logits of `width` columns, for up to `rowCountMax` rows at a time.
  package init(
    _ device: any TokenDrawer, width: Int, rowCountMax: Int
  ) throws(DeviceError) {
    var builder = ProgramBuilder()
    let hidden = builder.selectOutputs(builder.embed(Weight("embed", [width, 4])))
    value = builder.linear(hidden, Weight("head", [width, 4]))
    let program = builder.finish(
      name: "draws", vocabularySize: width, contextLength: rowCountMax, logits: value)
    let capacity = DeviceComparison.capacity(rowCount: rowCountMax)
    try device.load(
      program, from: ShapeWeights(program, storage: .bf16, seed: 1), capacity: capacity,
      progress: { _ in })
    self.device = device
    self.width = width
  }

  /// How many of `count` rows the device draws from otherwise than the host: random logits of all
  /// shapes, random parameters, two thirds of the random numbers at the edge of a token. Rows that
  /// the device does not draw from are read, and so compared.
  package func differences(seed: UInt64, count: Int) throws(DeviceError) -> Int {
    var random = Generator(state: seed)
    var logits: [Float] = []
    var draws: [TokenDraw?] = []
    var expected: [Int32] = []
    for row in 0..<count {
      let shapes = Shape.allCases
      let rowLogits = self.logits(shapes[row % shapes.count], &random)
      logits += rowLogits
      var draw = Self.draw(width: width, &random)
      let isRead = random.next() % 8 == 0 || !(device.drawsAtRandom || draw.takesLargest)
      expected.append(hostToken(&draw, rowLogits, &random))
      draws.append(isRead ? nil : draw)
    }
    let tokens = try drawn(draws, from: logits)
    var differences = 0
    for (row, draw) in draws.enumerated() {
      let isSame =
        draw == nil
        ? try read(row)[...] == logits[row * width..<(row + 1) * width]
        : tokens[row] == expected[row]
      differences += isSame ? 0 : 1
    }
    return differences
  }

  /// What the host draws; two of three times `random` becomes one of those just enough for it.
  private func hostToken(
    _ draw: inout TokenDraw, _ logits: [Float], _ random: inout Generator
  ) -> Int32 {
    let token = logits.withUnsafeBufferPointer { workspace.draw(draw, from: $0) }
    if draw.takesLargest { return Int32(token) }
    let edges = workspace.edges(of: token)
    let ways = [draw.random, edges.lowerBound, edges.upperBound]
    draw.random = ways[Int(random.next() % 3)]
    return Int32(token)
  }

  /// What the device draws, row by row, from logits `[draws, width]`.
  package func drawn(_ draws: [TokenDraw?], from logits: [Float]) throws(DeviceError) -> [Int32] {
    let tokens = [Int32](repeating: 0, count: draws.count)
    try device.begin(
      DeviceComparison.plan(
        tokens[...], capacity: DeviceComparison.capacity(rowCount: draws.count), outputs: .all))
    try logits.withUnsafeBufferPointer { logits throws(DeviceError) in
      try device.write(value, from: logits)
    }
    guard draws.contains(where: { $0 != nil }) else { return tokens }
    var columns = tokens
    try columns.withUnsafeMutableBufferPointer { columns throws(DeviceError) in
      try draws.withUnsafeBufferPointer { draws throws(DeviceError) in
        try device.draw(value, draws, into: columns)
      }
    }
    return columns
  }

  private func read(_ row: Int) throws(DeviceError) -> [Float] {
    var floats = [Float](repeating: .nan, count: width)
    try floats.withUnsafeMutableBufferPointer { buffer throws(DeviceError) in
      try device.read(value, rows: row..<row + 1, into: buffer)
    }
    return floats
  }

  // MARK: What is drawn

  private func logits(_ shape: Shape, _ random: inout Generator) -> [Float] {
    let scale = Float.random(in: 0.1...8, using: &random)
    return (0..<width).map { _ in
      let number = random.normal()
      return switch shape {
      case .spread: number * scale
      case .peaked: random.next() % 1_000 == 0 ? 20 + number * scale : number
      case .tied: (number * 2).rounded() / 2
      case .equal: scale
      case .huge: number * 1e37 * scale
      }
    }
  }

  private static func draw(width: Int, _ random: inout Generator) -> TokenDraw {
    func oneOf(_ count: UInt64) -> Bool { random.next() % count == 0 }
    if oneOf(8) { return .largest }
    var parameters = SamplingParameters()
    parameters.temperature = .random(in: 0.1...5, using: &random)
    if oneOf(2) { parameters.topK = Int.random(in: 1...(oneOf(2) ? width : 40), using: &random) }
    if oneOf(2) { parameters.topP = .random(in: 0.01...1, using: &random) }
    if oneOf(3) { parameters.minP = .random(in: 0...1, using: &random) }
    parameters.seed = random.next()
    return TokenDraw(parameters, position: Int(random.next() % 100_000))
  }

  /// SplitMix64.
  private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }

    /// About normal, of deviation 1: the sum of four.
    mutating func normal() -> Float {
      let bits = next()
      let sum = (0..<4).reduce(0) { $0 + Int(bits >> (16 * $1) & 0xFFFF) }
      return Float(sum - 2 * 0xFFFF) * (1 / 37_837)
    }
  }
}
