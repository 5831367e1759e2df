// SPDX-License-Identifier: Apache-2.0

import Program
import TestSupport

/// Random codes with scales and zeros, laid out as one of the formats of calibrated checkpoints.
/// Vectors, and tables by that name, are 32-bit floats.
struct CalibratedWeights: WeightSource {
  enum Layout: CaseIterable {
    /// Words of a row's columns; scales `[rows, groups]`.
    case alongColumns
    /// Words of a column's rows or a row's columns, columns first; scales `[groups, rows]`.
    case alongRows
    case columnsFirst
  }

  var bits: Int
  /// nil: whole rows.
  var group: Int?
  var layout = Layout.alongColumns
  var hasZeros = true
  var scaleType = ElementType.float16

  private final class Memory: @unchecked Sendable {  // written in init only
    let bytes: UnsafeMutableRawBufferPointer

    init(_ contents: [UInt8]) {
      bytes = .allocate(byteCount: max(contents.count, 1), alignment: 64)
      bytes.copyBytes(from: contents)
    }

    deinit { bytes.deallocate() }
  }

  private final class Memories: Sendable {
    let all: [Memory]
    init(_ all: [Memory]) { self.all = all }
  }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    if weight.name == "identity" { return Self.identity(weight) }
    guard weight.name != "table", weight.shape.count == 2 else {
      return try RandomWeights().tensor(weight)
    }
    var random = SeededGenerator(seed: UInt64(weight.elementCount * 8 + bits))
    let (rows, columns) = (weight.rows, weight.columns)
    let size = group ?? columns
    let groups = (columns + size - 1) / size
    let (codes, codeMemory) = grid(rows: rows, columns: columns, &random)
    let (zeros, zeroMemory) = grid(rows: rows, columns: groups, &random)
    let scales = Memory(
      (0..<rows * groups).flatMap { _ in
        bytes(of: Float.random(in: 0.5...1.5, using: &random) / 100)
      })
    let byRow = layout == .alongColumns
    let stored = StoredCodes(
      bits: bits, codes: codes, zeros: hasZeros ? zeros : nil,
      scales: ScaleGrid(
        UnsafeRawBufferPointer(scales.bytes), type: scaleType, rowStride: byRow ? groups : 1,
        groupStride: byRow ? 1 : rows), group: size)
    return StoredTensor(
      weight: weight, codes: stored, owner: Memories([codeMemory, zeroMemory, scales]))
  }

  /// Rows with a one each, as long as there are columns.
  private static func identity(_ weight: Weight) -> StoredTensor {
    let memory = Memory(
      (0..<weight.elementCount).flatMap { index in
        let isOne = index / weight.columns == index % weight.columns
        return withUnsafeBytes(of: Float(isOne ? 1 : 0)) { Array($0) }
      })
    return StoredTensor(
      weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(memory.bytes), scales: nil,
      owner: memory)
  }

  private func bytes(of scale: Float) -> [UInt8] {
    func parts<T>(_ bits: T) -> [UInt8] { withUnsafeBytes(of: bits) { Array($0) } }
    return switch scaleType {
    case .float16: parts(Float16(scale).bitPattern)
    case .bfloat16: parts(UInt16(scale.bitPattern >> 16))
    default: parts(scale.bitPattern)
    }
  }

  private func grid(
    rows: Int, columns: Int, _ random: inout SeededGenerator
  ) -> (IntegerGrid, Memory) {
    let perWord = 32 / bits
    let across = layout == .alongRows ? rows : columns
    let words = (across + perWord - 1) / perWord
    let memory = Memory(
      (0..<words * 4 * (layout == .alongRows ? columns : rows)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      })
    let bytes = UnsafeRawBufferPointer(memory.bytes)
    let grid =
      switch layout {
      case .alongColumns:
        IntegerGrid(
          bytes, bits: bits, rowStride: words * 8, columnStride: 8, columnsPerWord: perWord)
      case .columnsFirst:
        IntegerGrid(
          bytes, bits: bits, rowStride: 8, columnStride: rows * 8, columnsPerWord: perWord,
          bias: 1)
      case .alongRows:
        IntegerGrid(
          bytes, bits: bits, rowStride: 8, columnStride: words * 8, rowsPerWord: perWord,
          order: bits == 4 ? 0x7362_5140 : nil)
      }
    return (grid, memory)
  }
}
