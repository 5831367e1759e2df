// SPDX-License-Identifier: Apache-2.0

package import Device
internal import Program
internal import Sampling
package import Step
internal import Support

/// Tokens that a device draws from rows of logits, and what it tells of these, beside what the host
/// does.
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
  /// shapes, random parameters, adjustments and reports, two thirds of the random numbers at the
  /// edge of a token. Rows that the device does not draw from are read, and so compared.
  package func differences(seed: UInt64, count: Int) throws(DeviceError) -> Int {
    var random = DrawRandom(state: seed)
    var rows: [Row] = []
    var list: [TokenAdjustment] = []
    for index in 0..<count {
      let shapes = Shape.allCases
      rows.append(row(shapes[index % shapes.count], &list, &random))
    }
    let drawn = try drawn(rows.map(\.draw), adjusting: list, from: rows.flatMap(\.logits))
    var differences = 0
    for (index, row) in rows.enumerated() {
      let isSame =
        row.draw == nil
        ? try read(index) == row.logits
        : drawn.tokens[index] == row.token && row.isReported(by: drawn.reports[index])
      differences += isSame ? 0 : 1
    }
    return differences
  }

  /// A row, and what the host makes of it.
  private struct Row {
    var logits: [Float]
    /// nil: it is read.
    var draw: TokenDraw?
    var token: Int32
    var report: LogitReport?

    func isReported(by other: LogitReport) -> Bool {
      guard let report else { return true }
      // Where no token is drawn there is none to tell of.
      return report.peak == other.peak && report.total == other.total
        && (token < 0 || report.chosen == other.chosen)
        && (draw?.alternative == nil || report.alternative == other.alternative)
        && report.topCount == other.topCount
        && (0..<report.topCount).allSatisfy { report.top[$0] == other.top[$0] }
    }
  }

  /// Adds its adjustments to `list`.
  private func row(
    _ shape: Shape, _ list: inout [TokenAdjustment], _ random: inout DrawRandom
  ) -> Row {
    let logits = random.logits(shape, width: width)
    var draw = random.draw(width: width)
    if device.drawsAtRandom {
      random.adjust(&draw, width: width, &list)
      random.report(&draw, width: width)
    }
    let isRead = random.oneOf(8) || !(device.drawsAtRandom || draw.takesLargest)
    let token = hostToken(&draw, list, logits, &random)
    return Row(
      logits: logits, draw: isRead ? nil : draw, token: token,
      report: report(draw, token: token, logits))
  }

  /// What the host draws; two of three times `random` becomes one of those just enough for it.
  private func hostToken(
    _ draw: inout TokenDraw, _ list: [TokenAdjustment], _ logits: [Float],
    _ random: inout DrawRandom
  ) -> Int32 {
    let token = logits.withUnsafeBufferPointer { logits in
      list.withUnsafeBufferPointer { workspace.draw(draw, $0, from: logits) }
    }
    if draw.takesLargest || token < 0 { return token }
    let edges = workspace.edges(of: Int(token))
    let ways = [draw.random, edges.lowerBound, edges.upperBound]
    draw.random = ways[Int(random.next() % 3)]
    return token
  }

  private func report(_ draw: TokenDraw, token: Int32, _ logits: [Float]) -> LogitReport? {
    guard let count = draw.reportedCount else { return nil }
    var report = logits.withUnsafeBufferPointer { LogitReport(of: $0, topCount: Int(count)) }
    if token >= 0 { report.chosen = logits[Int(token)] }
    if let alternative = draw.alternative { report.alternative = logits[Int(alternative)] }
    return report
  }

  // MARK: The device

  /// What a device gives for some rows.
  package struct Drawn {
    package var tokens: [Int32]
    package var reports: [LogitReport]
  }

  /// What the device draws, row by row, from logits `[draws, width]`.
  package func drawn(
    _ draws: [TokenDraw?], adjusting list: [TokenAdjustment] = [], from logits: [Float]
  ) throws(DeviceError) -> Drawn {
    var tokens = [Int32](repeating: 0, count: draws.count)
    var reports = [LogitReport](repeating: LogitReport(), count: draws.count)
    try device.begin(
      DeviceComparison.plan(
        tokens[...], capacity: DeviceComparison.capacity(rowCount: draws.count), outputs: .all))
    try logits.withUnsafeBufferPointer { logits throws(DeviceError) in
      try device.write(value, from: logits)
    }
    guard draws.contains(where: { $0 != nil }) else {
      return Drawn(tokens: tokens, reports: reports)
    }
    try tokens.withUnsafeMutableBufferPointer { tokens throws(DeviceError) in
      try reports.withUnsafeMutableBufferPointer { reports throws(DeviceError) in
        try draws.withUnsafeBufferPointer { draws throws(DeviceError) in
          try list.withUnsafeBufferPointer { list throws(DeviceError) in
            try device.draw(
              value, StepDraws(rows: draws, adjustments: list), into: tokens, reports: reports)
          }
        }
      }
    }
    return Drawn(tokens: tokens, reports: reports)
  }

  private func read(_ row: Int) throws(DeviceError) -> [Float] {
    var floats = [Float](repeating: .nan, count: width)
    try floats.withUnsafeMutableBufferPointer { buffer throws(DeviceError) in
      try device.read(value, rows: row..<row + 1, into: buffer)
    }
    return floats
  }
}
