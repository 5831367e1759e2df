// SPDX-License-Identifier: Apache-2.0

/// A weight `[rows, columns]` as integer codes in the order in which vector kernels stream them,
/// and behind them what they are multiplied with.
///
/// 16 rows are a panel; columns are padded to whole 32 and rows to whole panels. A panel is, for
/// each 4 columns, 16 rows × 4 bytes of 8-bit codes; or, in 4 bits, for each 8 columns, 16 rows × 4
/// bytes, the codes of the first 4 columns in the low halves. All panels lie behind each other;
/// then, each from a multiple of 64 bytes on, `Factors`; then zeros up to a multiple of 64.
package struct PanelLayout: Hashable, Sendable {
  /// What an element is made of, beside its code.
  package enum Factors: Hashable, Sendable {
    /// `(code - middle) * scale`, middle being 128 (8 bits) or 8 (4 bits), and 128 or 32
    /// neighbouring columns of a row sharing a scale: bfloat16, `[panel][group][16 rows]`.
    case scales
    /// `(code - zero) * scale`, so many neighbouring columns sharing both: all scales, 32-bit
    /// floats, then all zeros, bytes, both `[panel][group][16 rows]`.
    case scalesAndZeros(group: Int)
  }

  package static let panelRows = 16
  package static let columnPadding = 32
  /// Of panels, of scales, of zeros and of the whole, in bytes.
  package static let alignment = 64

  package let bits: Int
  package let rows: Int
  package let columns: Int
  package let factors: Factors

  /// `bits` is 4 or 8.
  package init(bits: Int, rows: Int, columns: Int, factors: Factors = .scales) {
    self.bits = bits
    self.rows = rows
    self.columns = columns
    self.factors = factors
  }

  /// Neighbouring columns that share a scale.
  package var group: Int {
    switch factors {
    case .scales: bits == 8 ? 128 : 32
    case .scalesAndZeros(let group): group
    }
  }
  package var panelCount: Int { Self.rounded(rows, to: Self.panelRows) / Self.panelRows }
  package var paddedColumns: Int { Self.rounded(columns, to: Self.columnPadding) }
  package var groupCount: Int { Self.rounded(columns, to: group) / group }
  package var panelBytes: Int { panelCount * Self.panelRows * (paddedColumns / 8 * bits) }
  package var scaleCount: Int { panelCount * Self.panelRows * groupCount }
  /// Where the scales begin.
  package var scaleOffset: Int { Self.rounded(panelBytes, to: Self.alignment) }
  package var scaleBytes: Int { scaleCount * (factors == .scales ? 2 : 4) }
  /// Where the zeros begin.
  package var zeroOffset: Int { Self.rounded(scaleOffset + scaleBytes, to: Self.alignment) }
  package var zeroBytes: Int { factors == .scales ? 0 : scaleCount }
  package var byteCount: Int { Self.rounded(zeroOffset + zeroBytes, to: Self.alignment) }

  private static func rounded(_ value: Int, to unit: Int) -> Int {
    (value + unit - 1) / unit * unit
  }

  /// Writes some rows as 32-bit floats, `columns` of them each.
  func dequantize(
    _ bytes: UnsafeRawBufferPointer, rows: Range<Int>, into destination: UnsafeMutablePointer<Float>
  ) {
    var next = destination
    for row in rows {
      let (panel, lane) = row.quotientAndRemainder(dividingBy: Self.panelRows)
      for column in 0..<columns {
        let factor = (panel * groupCount + column / group) * Self.panelRows + lane
        let code = code(bytes, panel, lane, column)
        switch factors {
        case .scales:
          let bits = bytes.load(fromByteOffset: scaleOffset + factor * 2, as: UInt16.self)
          next.pointee = Float(code - (1 << (self.bits - 1))) * Float(bfloat16Bits: bits)
        case .scalesAndZeros:
          let scale = bytes.load(fromByteOffset: scaleOffset + factor * 4, as: Float.self)
          next.pointee = Float(code - Int(bytes[zeroOffset + factor])) * scale
        }
        next += 1
      }
    }
  }

  private func code(
    _ bytes: UnsafeRawBufferPointer, _ panel: Int, _ lane: Int, _ column: Int
  ) -> Int {
    let line = bits == 8 ? 4 : 8  // columns of 64 bytes
    let start = panel * Self.panelRows * paddedColumns * bits / 8
    let byte = bytes[start + column / line * 64 + lane * 4 + column % 4]
    guard bits == 4 else { return Int(byte) }
    return Int(column % 8 < 4 ? byte & 0x0F : byte >> 4)
  }
}
