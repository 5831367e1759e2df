// SPDX-License-Identifier: Apache-2.0

/// A matrix of integer codes as the program that calibrated it stored them. An element is
/// `scale * (code - zero)`, scale and zero being those of its row and of its group of columns.
///
/// Its pointers are valid as long as the owner of the `StoredTensor` that has it.
package struct StoredCodes: Sendable {
  /// Of a code: 4 or 8.
  package let bits: Int
  /// `[rows, columns]`, each in `0 ..< 1 << bits`.
  package let codes: IntegerGrid
  /// `[rows, groups]`; nil: the middle of the codes, `1 << (bits - 1)`.
  package let zeros: IntegerGrid?
  package let scales: ScaleGrid
  /// Neighbouring columns that share scale and zero.
  package let group: Int
  /// The group of each column where they are not neighbours, each checked to be one that there is.
  package let columnGroups: ColumnGroups?

  package init(
    bits: Int, codes: IntegerGrid, zeros: IntegerGrid?, scales: ScaleGrid, group: Int,
    columnGroups: ColumnGroups? = nil
  ) {
    self.bits = bits
    self.codes = codes
    self.zeros = zeros
    self.scales = scales
    self.group = group
    self.columnGroups = columnGroups
  }

  package var middle: Int { 1 << (bits - 1) }

  /// Writes some rows as 32-bit floats, `columns` of them each.
  func dequantize(
    rows: Range<Int>, columns: Int, into destination: UnsafeMutablePointer<Float>
  ) {
    var next = destination
    for row in rows {
      for column in 0..<columns {
        let group = columnGroups?[column] ?? column / group
        let zero = zeros?[row, group] ?? middle
        next.pointee = Float(codes[row, column] - zero) * scales[row, group]
        next += 1
      }
    }
  }
}

/// Integers of 4 or 8 bits in two dimensions, one after the other, or several rows of a column, or
/// columns of a row, in a word of 32 bits. Strides and places are in half bytes; strides are of
/// whole bytes, words little-endian.
package struct IntegerGrid: @unchecked Sendable {  // bytes are immutable for their owner's lifetime
  package let bytes: UnsafeRawBufferPointer
  /// Bits of a stored integer, 4 or 8.
  package let bits: Int
  /// From one word to the next below it, and beside it.
  package let rowStride: Int
  package let columnStride: Int
  /// Elements of a word are so many rows, or columns: a power of two each, and one of them 1.
  package let rowsPerWord: Int
  package let columnsPerWord: Int
  /// The place in its word of element `i`, for each `i` half byte `i` of this.
  package let order: UInt32
  /// An integer is `(stored + bias) & mask`.
  package let bias: UInt8
  package let mask: UInt8

  package init(
    _ bytes: UnsafeRawBufferPointer, bits: Int, rowStride: Int, columnStride: Int,
    rowsPerWord: Int = 1, columnsPerWord: Int = 1, order: UInt32? = nil, bias: UInt8 = 0,
    mask: UInt8? = nil
  ) {
    self.bytes = bytes
    self.bits = bits
    self.rowStride = rowStride
    self.columnStride = columnStride
    self.rowsPerWord = rowsPerWord
    self.columnsPerWord = columnsPerWord
    self.order = order ?? (bits == 4 ? 0x7654_3210 : 0x6420)
    self.bias = bias
    self.mask = mask ?? (bits == 4 ? 0x0F : 0xFF)
  }

  package subscript(row: Int, column: Int) -> Int {
    let rowPlace = row / rowsPerWord * rowStride + place(row % rowsPerWord)
    let columnPlace = column / columnsPerWord * columnStride + place(column % columnsPerWord)
    let place = rowPlace + columnPlace
    let byte = bytes[place / 2]
    let stored = bits == 8 ? byte : byte >> UInt8(place % 2 * 4) & 0x0F
    return Int((stored &+ bias) & mask)
  }

  private func place(_ element: Int) -> Int {
    Int(order >> UInt32(4 * element) & 0x0F)
  }
}

/// Scales in two dimensions, rows and groups of columns.
package struct ScaleGrid: @unchecked Sendable {  // bytes are immutable for their owner's lifetime
  /// Aligned to an element.
  package let bytes: UnsafeRawBufferPointer
  /// `.float32`, `.float16` or `.bfloat16`.
  package let type: ElementType
  /// In elements.
  package let rowStride: Int
  package let groupStride: Int

  package init(
    _ bytes: UnsafeRawBufferPointer, type: ElementType, rowStride: Int, groupStride: Int
  ) {
    self.bytes = bytes
    self.type = type
    self.rowStride = rowStride
    self.groupStride = groupStride
  }

  package subscript(row: Int, group: Int) -> Float {
    let start = (row * rowStride + group * groupStride) * type.size
    guard type != .float32 else { return bytes.load(fromByteOffset: start, as: Float.self) }
    let half = bytes.load(fromByteOffset: start, as: UInt16.self)
    return type == .float16 ? Float(float16Bits: half) : Float(bfloat16Bits: half)
  }
}

/// The group of each column.
package struct ColumnGroups: @unchecked Sendable {  // bytes are immutable while the owner lives
  /// `[columns]`, integers of 32 bits, aligned.
  package let bytes: UnsafeRawBufferPointer

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package subscript(column: Int) -> Int {
    Int(bytes.load(fromByteOffset: column * 4, as: Int32.self))
  }
}
