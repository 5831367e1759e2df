// SPDX-License-Identifier: Apache-2.0

/// A weight `[rows, columns]` as integer codes in the order in which vector kernels stream them,
/// and the scales behind them. An element is `code * scale`, 128 (8 bits) or 32 (4 bits)
/// neighbouring columns of a row sharing a scale.
///
/// 16 rows are a panel; columns are padded to whole 32 and rows to whole panels, with zeros.
/// A panel is, for each 4 columns, 16 rows × 4 bytes, each byte `code + 128`; or, in 4 bits, for
/// each 8 columns, 16 rows × 4 bytes, those of the first 4 columns in the low halves, each half
/// `code + 8`. All panels lie behind each other; then, from a multiple of 64 bytes on, the scales,
/// bfloat16, `[panel][group][16 rows]`; then zeros up to a multiple of 64.
package struct PanelLayout: Hashable, Sendable {
  package static let panelRows = 16
  package static let columnPadding = 32
  /// Of panels, of scales and of the whole, in bytes.
  package static let alignment = 64

  package let bits: Int
  package let rows: Int
  package let columns: Int

  /// `bits` is 4 or 8.
  package init(bits: Int, rows: Int, columns: Int) {
    self.bits = bits
    self.rows = rows
    self.columns = columns
  }

  /// Neighbouring columns that share a scale.
  package var group: Int { bits == 8 ? 128 : 32 }
  package var panelCount: Int { Self.rounded(rows, to: Self.panelRows) / Self.panelRows }
  package var paddedColumns: Int { Self.rounded(columns, to: Self.columnPadding) }
  package var groupCount: Int { Self.rounded(columns, to: group) / group }
  package var panelBytes: Int { panelCount * Self.panelRows * (paddedColumns / 8 * bits) }
  package var scaleCount: Int { panelCount * Self.panelRows * groupCount }
  /// Where the scales begin.
  package var scaleOffset: Int { Self.rounded(panelBytes, to: Self.alignment) }
  package var byteCount: Int { Self.rounded(scaleOffset + scaleCount * 2, to: Self.alignment) }

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
        let scale =
          scaleOffset + ((panel * groupCount + column / group) * Self.panelRows + lane) * 2
        let bits = UInt16(littleEndian: bytes.load(fromByteOffset: scale, as: UInt16.self))
        next.pointee = Float(code(bytes, panel, lane, column)) * Float(bfloat16Bits: bits)
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
    guard bits == 4 else { return Int(byte) - 128 }
    return Int(column % 8 < 4 ? byte & 0x0F : byte >> 4) - 8
  }
}
