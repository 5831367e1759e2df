// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// Codes that were calibrated: they go to the GPU as they are stored, and find their places there.
extension WeightLoader {
  /// Codes on their way at once: the next are read while these are copied.
  private static let codeBytesMax = 4 << 20

  /// Brings one of a matrix's weights to its place.
  func packCodes(
    _ source: CalibratedMatrix, _ matrix: GPUMatrix, _ index: Int
  ) throws(CUDAError) {
    let layout = matrix.layout
    var argument = cu_pack_codes()
    argument.integers = source.integers
    argument.zeros = source.zeros
    argument.scales = source.scales
    argument.codes = pointer(matrix.codes + UInt64(index * layout.codeBytes))
    argument.factors = pointer(matrix.scales + UInt64(index * layout.scaleBytes))
    argument.rows = Int32(layout.rows)
    argument.columns = Int32(layout.columns)
    argument.padded_columns = Int32(layout.paddedColumns)
    argument.group = Int32(source.group)
    argument.format = Int32(layout.format.rawValue)
    let chunks = source.chunks(of: layout, bytesMax: Self.codeBytesMax)
    let most = chunks.map(\.bytes.count).max() ?? 0
    for (number, chunk) in chunks.enumerated() {
      try stage(source, chunk, withFactors: number == 0, codeBytesMax: most, &argument)
      argument.first_tile = Int32(chunk.tiles.lowerBound)
      argument.tiles = Int32(chunk.tiles.count)
      argument.first_span = Int32(chunk.spans.lowerBound)
      argument.spans = Int32(chunk.spans.count)
      let threads = chunk.tiles.count * chunk.spans.count * MatrixLayout.tileRows / 2
      try launch(kernels.packCodes, threads: threads, argument)
    }
  }

  /// Copies a part's codes to the GPU's staging memory, in front of them all scales and zeros,
  /// which stay there for the parts that follow.
  private func stage(
    _ source: CalibratedMatrix, _ chunk: CalibratedMatrix.Chunk, withFactors: Bool,
    codeBytesMax: Int, _ argument: inout cu_pack_codes
  ) throws(CUDAError) {
    let zeros = source.zeroBytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
    let zeroStart = Self.aligned(source.scaleBytes.count)
    let codeStart = zeroStart + Self.aligned(zeros.count)
    let start = try nextStaging(codeStart + codeBytesMax)
    func put(_ bytes: UnsafeRawBufferPointer, at place: Int) {
      UnsafeMutableRawBufferPointer(start: start + place, count: bytes.count)
        .copyMemory(from: bytes)
    }
    if withFactors {
      put(source.scaleBytes, at: 0)
      put(zeros, at: zeroStart)
    }
    put(UnsafeRawBufferPointer(rebasing: source.codeBytes[chunk.bytes]), at: codeStart)
    let first = withFactors ? 0 : codeStart
    try gpu.copyIn(
      to: deviceStaging + UInt64(first), from: start + first,
      byteCount: codeStart + chunk.bytes.count - first)
    try recordStaging()
    argument.scales.values = UnsafeRawPointer(pointer(deviceStaging, to: UInt8.self))
    if source.zeroBytes != nil {
      argument.zeros.bytes = UnsafePointer(pointer(deviceStaging + UInt64(zeroStart)))
    }
    argument.integers.bytes = UnsafePointer(pointer(deviceStaging + UInt64(codeStart)))
  }

  private static func aligned(_ byteCount: Int) -> Int { (byteCount + 15) / 16 * 16 }
}
