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
  /// The same in pinned memory.
  let hostKeys: UnsafeMutableBufferPointer<UInt64>
  let hostDraws: UnsafeMutableBufferPointer<cu_draw>
  let hostReports: UnsafeMutableBufferPointer<cu_report>
  let hostAdjustments: UnsafeMutableBufferPointer<cu_adjustment>
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
    func both<Element>(
      _ count: Int, of type: Element.Type
    ) throws(CUDAError) -> (UInt64, UnsafeMutableBufferPointer<Element>) {
      let byteCount = count * MemoryLayout<Element>.stride
      return (
        try gpu.allocate(byteCount), try gpu.allocatePinned(byteCount).bindMemory(to: type)
      )
    }
    (keys, hostKeys) = try both(self.outputs, of: UInt64.self)
    (draws, hostDraws) = try both(self.outputs, of: cu_draw.self)
    (reports, hostReports) = try both(self.outputs, of: cu_report.self)
    (adjustments, hostAdjustments) = try both(
      TokenAdjustment.perStepMax(outputs: self.outputs), of: cu_adjustment.self)
    sums = try gpu.allocate(Self.countBytes + rowsAtOnce * Self.bucketBytes)
    candidates = try gpu.allocate(rowsAtOnce * Int(cu_candidates_max) * 8)
    cuts = try gpu.allocate(rowsAtOnce * 8)
    let parts = rowsAtOnce * Self.parts(width: width)
    partSums = try gpu.allocate(parts * 8)
    tops = try gpu.allocate(parts * Int(cu_top_max) * 8)
  }

  private static let countBytes = rowsAtOnceMax * MemoryLayout<UInt32>.stride

  private static func parts(width: Int) -> Int {
    (width + cu_sample_columns - 1) / cu_sample_columns
  }

  /// Queues what makes of each row's largest the column that is drawn, and the copies of reports.
  /// `scores` are on the GPU, rows `stride` floats apart.
  func queue(
    _ draws: StepDraws, scores: UInt64, stride: Int, width: Int, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    try copyIn(draws, on: gpu)
    let rows = draws.rows
    let reportBytes = MemoryLayout<cu_report>.stride
    let hasReports = rows.contains { $0?.reportedCount != nil }
    if hasReports { try gpu.zero(reports, byteCount: rows.count * reportBytes) }
    for first in Swift.stride(from: 0, to: rows.count, by: rowsAtOnce) {
      let group = DrawGroup(rows[first..<min(rows.count, first + rowsAtOnce)])
      let drawBytes = MemoryLayout<cu_draw>.stride
      var argument = cu_sample(
        scores: pointer(scores + UInt64(first * stride * 4)), stride: Int64(stride),
        draws: UnsafePointer(pointer(self.draws + UInt64(first * drawBytes))),
        keys: pointer(keys + UInt64(first * 8)), candidate_counts: pointer(sums),
        buckets: pointer(sums + UInt64(Self.countBytes)), candidates: pointer(candidates),
        cuts: pointer(cuts), part_sums: pointer(partSums), adjustments: pointer(adjustments),
        reports: pointer(reports + UInt64(first * reportBytes)), tops: pointer(tops),
        width: Int32(width), parts: Int32(Self.parts(width: width)))
      try queue(&argument, group, on: gpu, kernels)
    }
    if hasReports, let host = hostReports.baseAddress {
      try gpu.copyOut(to: host, from: reports, byteCount: rows.count * reportBytes)
    }
  }

  private func copyIn(_ draws: StepDraws, on gpu: GPU) throws(CUDAError) {
    let (rows, list) = (draws.rows, draws.adjustments)
    check(rows.count <= outputs, "\(rows.count) rows are drawn from, more than agreed")
    check(list.count <= hostAdjustments.count, "\(list.count) adjustments are more than agreed")
    for (row, draw) in rows.enumerated() { hostDraws[row] = cu_draw(draw) }
    for (index, adjustment) in list.enumerated() {
      hostAdjustments[index] = cu_adjustment(
        column: adjustment.token, bias: adjustment.bias, count: adjustment.outputCount)
    }
    guard let from = hostDraws.baseAddress, let fromList = hostAdjustments.baseAddress
    else { return }
    try gpu.copyIn(
      to: self.draws, from: from, byteCount: rows.count * MemoryLayout<cu_draw>.stride)
    try gpu.copyIn(
      to: adjustments, from: fromList, byteCount: list.count * MemoryLayout<cu_adjustment>.stride)
  }

  private func queue(
    _ argument: inout cu_sample, _ group: DrawGroup, on gpu: GPU, _ kernels: KernelSet
  ) throws(CUDAError) {
    let (parts, rows) = (Int(argument.parts), group.rowCount)
    if group.cuts { try gpu.zero(sums, byteCount: Self.countBytes + rows * Self.bucketBytes) }
    try withUnsafeMutableBytes(of: &argument) { bytes throws(CUDAError) in
      guard let start = bytes.baseAddress else { return }
      func ofParts(_ kernel: GPU.Kernel) throws(CUDAError) {
        try gpu.launch(kernel, x: parts, y: rows, argument: start)
      }
      func ofRows(_ kernel: GPU.Kernel) throws(CUDAError) {
        try gpu.launch(kernel, x: rows, argument: start)
      }
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
      if group.isRandom {
        try ofParts(kernels.sampleSum)
        try ofRows(kernels.samplePick)
      }
      if group.reports { try ofRows(kernels.reportChosen) }
    }
  }

  /// What was copied out, once the GPU is done.
  func read(
    _ draws: UnsafeBufferPointer<TokenDraw?>, into reports: UnsafeMutableBufferPointer<LogitReport>
  ) {
    for (row, draw) in draws.enumerated() {
      if let draw, draw.reportedCount != nil { reports[row] = LogitReport(hostReports[row]) }
    }
  }
}

/// What rows of one launch ask for together.
private struct DrawGroup {
  let rowCount: Int
  private(set) var isRandom = false
  private(set) var cuts = false
  private(set) var adjusts = false
  private(set) var reports = false
  private(set) var reportsTop = false

  init(_ draws: Slice<UnsafeBufferPointer<TokenDraw?>>) {
    rowCount = draws.count
    for case let draw? in draws {
      isRandom = isRandom || !draw.takesLargest
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
