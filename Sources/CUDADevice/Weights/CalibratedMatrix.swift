// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
internal import Program

/// Where the codes, scales and zeros of a matrix that was calibrated lie: in one form, whether the
/// program that calibrated it wrote them or `silica quantize` did.
struct CalibratedMatrix {
  /// Part of a weight, and where its codes are among all.
  struct Chunk: Equatable {
    var tiles, spans, bytes: Range<Int>
  }

  /// Columns that share a scale.
  let group: Int
  let format: cu_format
  /// Without the places of their bytes.
  let integers, zeros: cu_integers
  let scales: cu_stored_scales
  let codeBytes, scaleBytes: UnsafeRawBufferPointer
  /// nil: all are the middle of the codes.
  let zeroBytes: UnsafeRawBufferPointer?

  /// nil where a weight has no such codes, or groups that no kernel takes.
  init?(_ tensor: StoredTensor) {
    let columns = tensor.weight.columns
    if let codes = tensor.codes, codes.columnGroups == nil,
      let format = Self.format(bits: codes.bits, group: codes.group, columns: columns)
    {
      self.format = format
      group = codes.group
      integers = cu_integers(codes.codes)
      zeros = codes.zeros.map { cu_integers($0) } ?? cu_integers()
      scales = cu_stored_scales(codes.scales)
      codeBytes = codes.codes.bytes
      scaleBytes = codes.scales.bytes
      zeroBytes = codes.zeros?.bytes
    } else if let panels = tensor.panels, panels.factors != .scales,
      let format = Self.format(bits: panels.bits, group: panels.group, columns: columns)
    {
      self.format = format
      group = panels.group
      integers = .codes(of: panels)
      zeros = .zeros(of: panels)
      scales = .scales(of: panels)
      func part(_ start: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: tensor.bytes[start..<start + count])
      }
      codeBytes = part(0, panels.panelBytes)
      scaleBytes = part(panels.scaleOffset, panels.scaleBytes)
      zeroBytes = part(panels.zeroOffset, panels.zeroBytes)
    } else {
      return nil
    }
  }

  /// Larger groups are several of 128 columns that say the same.
  private static func format(bits: Int, group: Int, columns: Int) -> cu_format? {
    if group >= columns || group % 128 == 0 {
      return bits == 4 ? cu_format_int4_128 : cu_format_int8_128
    }
    if group % 64 == 0 { return bits == 4 ? cu_format_int4_64 : cu_format_int8_64 }
    if group % 32 == 0 { return bits == 4 ? cu_format_int4_32 : cu_format_int8_32 }
    return nil
  }

  /// The weight in parts of up to so many bytes, or of one tile or span: along what its codes have
  /// outermost, rows or columns.
  func chunks(of layout: MatrixLayout, bytesMax: Int) -> [Chunk] {
    let tileBytes = Int(integers.tile_stride) / 2
    let spanBytes =
      (MatrixLayout.span >> Int(integers.column_shift)) * Int(integers.column_stride) / 2
    let isByTiles = layout.tiles * tileBytes >= layout.spans * spanBytes
    let (unit, count) = isByTiles ? (tileBytes, layout.tiles) : (spanBytes, layout.spans)
    let size = max(1, bytesMax / max(1, unit))
    return stride(from: 0, to: count, by: size).map { first in
      let end = min(count, first + size)
      let bytes = first * unit..<(end == count ? codeBytes.count : end * unit)
      return Chunk(
        tiles: isByTiles ? first..<end : 0..<layout.tiles,
        spans: isByTiles ? 0..<layout.spans : first..<end, bytes: bytes)
    }
  }
}

extension cu_integers {
  fileprivate init(_ grid: IntegerGrid) {
    self.init()
    tile_stride = Int64(MatrixLayout.tileRows / grid.rowsPerWord * grid.rowStride)
    row_stride = Int64(grid.rowStride)
    column_stride = Int64(grid.columnStride)
    row_shift = Int32(grid.rowsPerWord.trailingZeroBitCount)
    column_shift = Int32(grid.columnsPerWord.trailingZeroBitCount)
    order = grid.order
    bits = UInt8(grid.bits)
    bias = grid.bias
    mask = grid.mask
  }

  /// A panel is a tile: for four or eight columns, four bytes of each row, in 4 bits the first four
  /// columns in the low halves.
  fileprivate static func codes(of panels: PanelLayout) -> cu_integers {
    var integers = cu_integers()
    integers.tile_stride = Int64(panels.panelBytes / panels.panelCount * 2)
    integers.row_stride = 8
    integers.column_stride = Int64(8 * PanelLayout.panelRows)
    integers.column_shift = panels.bits == 8 ? 2 : 3
    integers.order = panels.bits == 8 ? 0x6420 : 0x7531_6420
    integers.bits = UInt8(panels.bits)
    integers.mask = panels.bits == 8 ? 0xFF : 0x0F
    return integers
  }

  fileprivate static func zeros(of panels: PanelLayout) -> cu_integers {
    var integers = cu_integers()
    integers.tile_stride = Int64(2 * panels.groupCount * PanelLayout.panelRows)
    integers.row_stride = 2
    integers.column_stride = Int64(2 * PanelLayout.panelRows)
    integers.bits = 8
    integers.mask = 0xFF
    return integers
  }
}

extension cu_stored_scales {
  fileprivate init(_ grid: ScaleGrid) {
    self.init()
    tile_stride = Int64(MatrixLayout.tileRows * grid.rowStride)
    row_stride = Int64(grid.rowStride)
    group_stride = Int64(grid.groupStride)
    let stored =
      switch grid.type {
      case .float16: cu_scale_f16
      case .bfloat16: cu_scale_bf16
      default: cu_scale_f32
      }
    type = Int32(stored.rawValue)
  }

  fileprivate static func scales(of panels: PanelLayout) -> cu_stored_scales {
    var scales = cu_stored_scales()
    scales.tile_stride = Int64(panels.groupCount * PanelLayout.panelRows)
    scales.row_stride = 1
    scales.group_stride = Int64(PanelLayout.panelRows)
    scales.type = Int32(cu_scale_f32.rawValue)
    return scales
  }
}
