// SPDX-License-Identifier: Apache-2.0

internal import Support

// Every conversion is exact, subnormal numbers included; a NaN stays one. Written without branches
// and tables, so that the compiler uses vectors, and without f32 subnormals on the way, so that
// the processor's flush-to-zero modes change nothing.
extension StoredTensor {
  /// The elements as they lie in the checkpoint, where these are floats of 32 bits: nothing is
  /// copied. Valid while `owner` is kept.
  package var sharedFloat32: UnsafeBufferPointer<Float>? {
    guard type == .float32, Int(bitPattern: bytes.baseAddress) % 4 == 0 else { return nil }
    return bytes.assumingMemoryBound(to: Float.self)
  }

  /// All elements as 32-bit floats, row after row.
  package func dequantized() -> [Float] {
    Array(unsafeUninitializedCapacity: weight.elementCount) { buffer, count in
      if let start = buffer.baseAddress { dequantize(rows: 0..<weight.rows, into: start) }
      count = weight.elementCount
    }
  }

  /// Writes some rows as 32-bit floats, times their block's scale if the tensor has scales.
  ///
  /// - Parameter destination: room for `rows.count * weight.columns` floats.
  package func dequantize(rows: Range<Int>, into destination: UnsafeMutablePointer<Float>) {
    check(rows.lowerBound >= 0 && rows.upperBound <= weight.rows, "\(weight) has no rows \(rows)")
    if let panels { return panels.dequantize(bytes, rows: rows, into: destination) }
    if let codes {
      return codes.dequantize(rows: rows, columns: weight.columns, into: destination)
    }
    check(bytes.count == weight.elementCount * type.size, "\(weight) has \(bytes.count) bytes")
    let columns = weight.columns
    guard let start = bytes.baseAddress, !rows.isEmpty, columns > 0 else { return }
    let source = start + rows.lowerBound * columns * type.size
    let count = rows.count * columns
    switch type {
    case .float32:
      UnsafeMutableRawPointer(destination).copyMemory(from: source, byteCount: count * 4)
    case .float16:
      let halves = source.assumingMemoryBound(to: UInt16.self)
      for index in 0..<count { destination[index] = Float(float16Bits: halves[index]) }
    case .bfloat16:
      let halves = source.assumingMemoryBound(to: UInt16.self)
      for index in 0..<count { destination[index] = Float(bfloat16Bits: halves[index]) }
    case .float8e4m3:
      let codes = source.assumingMemoryBound(to: UInt8.self)
      for index in 0..<count { destination[index] = Float(float8e4m3Bits: codes[index]) }
    case .panels, .codes: check(false, "\(weight) says not how its \(type) lie")
    }
    if let scales { multiply(destination, rows: rows, by: scales) }
  }

  private func multiply(
    _ values: UnsafeMutablePointer<Float>, rows: Range<Int>, by scales: BlockScales
  ) {
    let columns = weight.columns
    for row in rows {
      let rowValues = values + (row - rows.lowerBound) * columns
      let firstScale = row / scales.blockRows * scales.blocksPerRow
      for block in 0..<scales.blocksPerRow {
        let scale = scales.values[firstScale + block]
        let start = block * scales.blockColumns
        for column in start..<min(columns, start + scales.blockColumns) {
          rowValues[column] *= scale
        }
      }
    }
  }
}

extension Float {
  /// The value of an IEEE half: 1 sign, 5 exponent and 10 mantissa bits.
  @inline(__always)
  package init(float16Bits bits: UInt16) {
    let magnitude = UInt32(bits & 0x7FFF)
    // Exponent 31 (infinity, NaN) becomes 255, others move from bias 15 to 127.
    let rebias: UInt32 = magnitude >= 0x7C00 ? (255 - 31) << 23 : (127 - 15) << 23
    let normal = Float(bitPattern: magnitude << 13 &+ rebias)
    let subnormal = Float(Int32(magnitude)) * 0x1p-24
    let value = magnitude < 0x0400 ? subnormal : normal
    self = Float(bitPattern: value.bitPattern | UInt32(bits & 0x8000) << 16)
  }

  /// The value of a bfloat16: the upper half of a 32-bit float.
  @inline(__always)
  package init(bfloat16Bits bits: UInt16) { self.init(bitPattern: UInt32(bits) << 16) }

  /// As bfloat16, to nearest even; NaN stays NaN.
  package var bfloat16Bits: UInt16 {
    if isNaN { return 0x7fff }
    return UInt16((bitPattern + 0x7fff + (bitPattern >> 16 & 1)) >> 16)
  }

  /// The value of an FP8 number of 1 sign, 4 exponent and 3 mantissa bits, without infinities
  /// ("e4m3fn"; Micikevicius et al. 2022).
  @inline(__always)
  package init(float8e4m3Bits bits: UInt8) {
    let magnitude = UInt32(bits & 0x7F)
    let normal = Float(bitPattern: magnitude << 20 &+ (127 - 7) << 23)
    let subnormal = Float(Int32(magnitude)) * 0x1p-9
    var value = magnitude < 0x08 ? subnormal : normal
    value = magnitude == 0x7F ? .nan : value
    self = Float(bitPattern: value.bitPattern | UInt32(bits & 0x80) << 24)
  }
}
