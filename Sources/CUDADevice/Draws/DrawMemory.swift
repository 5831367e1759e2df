// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program
internal import Step
internal import Support

/// Memory for drawing tokens from rows of logits. Confined to the device's thread.
struct DrawMemory {
  /// Rows that are drawn from at random together; more are taken in turn. Each takes 80 KiB, and
  /// 160 bytes for each `cu_sample_columns` columns.
  static let rowsAtOnceMax = 64

  /// A key for each output (`cu_largest`), how it is drawn, and what is told of it: on the GPU.
  let keys, draws, reports: UInt64
  /// What is done to logits before, of all outputs.
  let adjustments: UInt64
  /// Adjustments on their way, in pinned memory: most draws have none, and a list can be long.
  private let hostAdjustments: UnsafeMutableBufferPointer<cu_adjustment>
  /// How each output is drawn, on its way. The GPU has it when its tokens are there.
  private let hostDraws: MappedMemory
  let drawn: DrawnTokens
  private let outputs: Int
  private let rowsAtOnce: Int
  /// Of the rows of one launch. The first is zeroed before it: counts of candidates, then buckets.
  private let sums, candidates, cuts, partSums, tops: UInt64

  private static let bucketBytes = Int(cu_buckets) * MemoryLayout<cu_bucket>.stride

  /// For values of the program, in so many rows at most.
  init(_ gpu: GPU, _ program: Program, outputs: Int) throws(CUDAError) {
    let width = program.values.map { $0.kind == .floats ? $0.width : 0 }.max() ?? 0
    self.outputs = max(1, outputs)
    rowsAtOnce = min(self.outputs, Self.rowsAtOnceMax)
    keys = try gpu.allocate(self.outputs * 8)
    draws = try gpu.allocate(Self.words(of: self.outputs) * Self.wordBytes)
    reports = try gpu.allocate(self.outputs * MemoryLayout<cu_report>.stride)
    drawn = try DrawnTokens(gpu, rows: self.outputs)
    hostDraws = try gpu.allocateMapped(Self.words(of: self.outputs) * Self.wordBytes)
    let listBytes =
      TokenAdjustment.perStepMax(outputs: self.outputs) * MemoryLayout<cu_adjustment>.stride
    adjustments = try gpu.allocate(listBytes)
    hostAdjustments = try gpu.allocatePinned(listBytes).bindMemory(to: cu_adjustment.self)
    sums = try gpu.allocate(Self.countBytes + rowsAtOnce * Self.bucketBytes)
    candidates = try gpu.allocate(rowsAtOnce * Int(cu_candidates_max) * 8)
    cuts = try gpu.allocate(rowsAtOnce * 8)
    let parts = rowsAtOnce * Self.parts(width: width)
    partSums = try gpu.allocate(parts * 8)
    tops = try gpu.allocate(parts * Int(cu_top_max) * 8)
  }

  private static let wordBytes = 16

  /// Of so many draws.
  private static func words(of draws: Int) -> Int {
    (draws * MemoryLayout<cu_draw>.stride + wordBytes - 1) / wordBytes
  }

  private static let countBytes = rowsAtOnceMax * MemoryLayout<UInt32>.stride

  private static func parts(width: Int) -> Int {
    (width + cu_sample_columns - 1) / cu_sample_columns
  }

  /// Begins a draw: brings to the GPU how rows are drawn, unless all take the largest and nothing
  /// else is to be done, and zeros.
  func begin(
    _ draws: StepDraws, isMoreThanLargest: Bool, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    let rows = draws.rows
    check(rows.count <= outputs, "\(rows.count) rows are drawn from, more than agreed")
    try drawn.begin(on: gpu)
    if isMoreThanLargest {
      let places = hostDraws.bytes.bindMemory(to: cu_draw.self)
      for (row, draw) in rows.enumerated() { places[row] = cu_draw(draw) }
    }
    let argument = cu_fetch_draws(
      slot: UnsafeRawPointer(pointer(hostDraws.address, to: UInt8.self)),
      draws: pointer(self.draws), keys: pointer(keys), arrivals: pointer(drawn.arrivals),
      rows: Int32(rows.count),
      draw_words: isMoreThanLargest ? Int32(Self.words(of: rows.count)) : 0)
    try gpu.launch(kernels.fetchDraws, x: 1, with: argument)
    try copyIn(draws.adjustments, on: gpu)
  }

  private func copyIn(
    _ list: UnsafeBufferPointer<TokenAdjustment>, on gpu: GPU
  ) throws(CUDAError) {
    check(list.count <= hostAdjustments.count, "\(list.count) adjustments are more than agreed")
    guard !list.isEmpty, let from = hostAdjustments.baseAddress else { return }
    for (index, adjustment) in list.enumerated() {
      hostAdjustments[index] = cu_adjustment(
        column: adjustment.token, bias: adjustment.bias, count: adjustment.outputCount)
    }
    try gpu.copyIn(
      to: adjustments, from: from, byteCount: list.count * MemoryLayout<cu_adjustment>.stride)
  }

  /// Queues what makes of each row's largest the column that is drawn, and tells the host. `scores`
  /// are on the GPU, rows `stride` floats apart.
  func queue(
    _ draws: StepDraws, scores: UInt64, stride: Int, width: Int, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    let rows = draws.rows
    let (drawBytes, reportBytes) = (MemoryLayout<cu_draw>.stride, MemoryLayout<cu_report>.stride)
    let hasReports = rows.contains { $0?.reportedCount != nil }
    if hasReports { try gpu.zero(reports, byteCount: rows.count * reportBytes) }
    // Then the last kernel of every group picks a column, and can say so.
    let areAllPlain = rows.allSatisfy { $0?.isPlain ?? true }
    for first in Swift.stride(from: 0, to: rows.count, by: rowsAtOnce) {
      var group = DrawGroup(rows[first..<min(rows.count, first + rowsAtOnce)])
      group.picks = group.picks || areAllPlain
      let argument = cu_sample(
        scores: pointer(scores + UInt64(first * stride * 4)), stride: Int64(stride),
        draws: UnsafePointer(pointer(self.draws + UInt64(first * drawBytes))),
        keys: pointer(keys + UInt64(first * 8)), candidate_counts: pointer(sums),
        buckets: pointer(sums + UInt64(Self.countBytes)), candidates: pointer(candidates),
        cuts: pointer(cuts), part_sums: pointer(partSums), adjustments: pointer(adjustments),
        reports: pointer(reports + UInt64(first * reportBytes)), tops: pointer(tops),
        width: Int32(width), parts: Int32(Self.parts(width: width)),
        drawn: areAllPlain
          ? drawn.ending(keys: keys, rows: rows.count, blocks: rows.count) : cu_drawn())
      try queue(argument, group, on: gpu, kernels)
    }
    guard !areAllPlain else { return }
    let end = drawn.ending(keys: keys, reports: hasReports ? reports : nil, rows: rows.count)
    try gpu.launch(kernels.tellDrawn, x: 1, with: end)
  }

  private func queue(
    _ argument: cu_sample, _ group: DrawGroup, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    let (parts, rows) = (Int(argument.parts), group.rowCount)
    func ofParts(_ kernel: GPU.Kernel) throws(CUDAError) {
      try gpu.launch(kernel, x: parts, y: rows, with: argument)
    }
    func ofRows(_ kernel: GPU.Kernel) throws(CUDAError) {
      try gpu.launch(kernel, x: rows, with: argument)
    }
    if group.cuts { try gpu.zero(sums, byteCount: Self.countBytes + rows * Self.bucketBytes) }
    // Of logits as they are, so before these are adjusted.
    if group.reports { try ofParts(kernels.reportParts) }
    if group.reportsTop { try ofRows(kernels.reportTop) }
    if group.adjusts {
      try ofRows(kernels.adjustRows)
      try ofParts(kernels.largestOfAdjusted)
    }
    if group.cuts {
      try ofParts(kernels.sampleWeigh)
      try ofParts(kernels.sampleGather)
      try ofRows(kernels.sampleCut)
    }
    if group.picks {
      try ofParts(kernels.sampleSum)
      try ofRows(kernels.samplePick)
    }
    if group.reports { try ofRows(kernels.reportChosen) }
  }

  /// What is told of the rows, once their tokens are there.
  func read(
    _ draws: UnsafeBufferPointer<TokenDraw?>, into reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    let host = drawn.hostReports
    for (row, draw) in draws.enumerated() {
      if let draw, draw.reportedCount != nil { reports[row] = LogitReport(host[row]) }
    }
  }
}

/// What rows of one launch ask for together.
private struct DrawGroup {
  let rowCount: Int
  /// Whether some are drawn at random.
  var picks = false
  private(set) var cuts = false
  private(set) var adjusts = false
  private(set) var reports = false
  private(set) var reportsTop = false

  init(_ draws: Slice<UnsafeBufferPointer<TokenDraw?>>) {
    rowCount = draws.count
    for case let draw? in draws {
      picks = picks || !draw.takesLargest
      cuts = cuts || !draw.takesLargest && draw.cuts
      adjusts = adjusts || draw.adjustments.count > 0
      reports = reports || draw.reportedCount != nil
      reportsTop = reportsTop || draw.reportedCount ?? 0 > 0
    }
  }
}

extension cu_draw {
  /// nil: nothing is drawn.
  init(_ draw: TokenDraw?) {
    let draw = draw ?? .largest
    let adjustments = draw.adjustments
    check(
      draw.reportedCount ?? 0 <= cu_top_max, "more of the largest logits than can be reported")
    self.init(
      top_p: draw.topP, random: draw.random, scale: draw.scale, min_p: draw.minP,
      top_k: draw.topK, is_random: draw.takesLargest ? 0 : 1,
      first_adjustment: adjustments.first, adjustment_count: adjustments.count,
      repetition: adjustments.repetitionPenalty, frequency: adjustments.frequencyPenalty,
      presence: adjustments.presencePenalty, top_count: draw.reportedCount ?? -1,
      alternative: draw.alternative ?? -1, unused: 0)
  }
}

extension LogitReport {
  fileprivate init(_ report: cu_report) {
    self.init()
    peak = Float(rankedBy: report.largest)
    total = report.total
    chosen = report.chosen
    alternative = report.alternative
    withUnsafeBytes(of: report.top) { bytes in
      for key in bytes.bindMemory(to: UInt64.self) where key > 0 {
        top[topCount] = Entry(token: Int32(rankedBy: key), logit: Float(rankedBy: key))
        topCount += 1
      }
    }
  }
}
