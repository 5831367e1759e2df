// SPDX-License-Identifier: Apache-2.0

internal import CUDAKernels
package import Device
package import Program
internal import Support

/// The memory of GPUs that a program takes: found from shapes and stored types, before anything is
/// loaded and without a GPU.
package struct CUDABudget: Hashable, Sendable {
  /// Of the memory that weights and buffers leave, what keys and values take by default.
  package static let cacheShare = 0.9
  /// What the driver and the kernels take of each GPU.
  package static let reserveBytes = 512 << 20

  /// Whose the weights are.
  package enum Sharing {
    case none
    /// Loaded here, for other processes too.
    case loads
    /// Loaded by another process.
    case takes
  }

  package private(set) var weightBytes = 0
  /// Values and what kernels keep between them, of one device with all layers.
  package private(set) var bufferBytes = 0

  package init(
    _ program: Program, from source: any WeightSource, precision: CUDAPrecision,
    expansion: CUDAExpansion? = nil, capacity: DeviceCapacity
  ) throws(WeightError) {
    for operation in program.operations {
      weightBytes += try Self.bytes(of: operation, source, precision)
    }
    var arena = DeviceArena()
    var scratch = LayerScratch()
    let groups = Fusion.all(of: program, expands: expansion != nil).map(\.group)
    _ = ValuePlaces(
      program, fused: groups, precision: precision, capacity: capacity, arena: &arena)
    _ = scratch.products(program, &arena)
    _ = scratch.attention(program, capacity, &arena)
    _ = scratch.experts(
      program, rows: capacity.rowCountMax, takesCodes: precision.takesCodes, &arena)
    _ = LayerScratch.arranged(program, capacity, &arena)
    if let expansion {
      let groups = program.latentGroups
      for group in groups {
        weightBytes += try Self.bytes(of: .headwiseLinear(group.toKeys), source, precision)
      }
      _ = ExpandedMemory(ExpandedShape(groups), expansion, capacity, &arena)
    }
    bufferBytes = arena.used
  }

  /// Bytes that keys and values of one token take, in all layers together.
  package static func cacheBytesPerToken(
    _ program: Program, _ precision: CUDACachePrecision
  ) -> Int {
    program.operations.reduce(0) { $0 + (CacheRow($1, precision)?.byteCount ?? 0) }
  }

  /// Bytes for keys and values of so much free memory, on `gpuCount` GPUs with `deviceCount`
  /// devices.
  ///
  /// - Parameters:
  ///   - handoffBytes: of what goes from device to device.
  ///   - sharing: whether other processes use the weights too: each takes half of what it finds.
  package func cacheBytes(
    freeBytes: Int, gpuCount: Int, deviceCount: Int, handoffBytes: Int, sharing: Sharing
  ) -> Int {
    let weights = sharing == .takes ? 0 : weightBytes
    let taken = weights + bufferBytes * deviceCount + handoffBytes + Self.reserveBytes * gpuCount
    let share = sharing == .none ? Self.cacheShare : Self.cacheShare / 2
    // What does not fit is said when it is loaded; this is enough to come there.
    return Int(Double(max(freeBytes - taken, freeBytes / 16)) * share)
  }

  static func bytes(
    of operation: Operation, _ source: any WeightSource, _ precision: CUDAPrecision
  ) throws(WeightError) -> Int {
    switch operation {
    case .embed(let op):
      let isBF16 = try source.tensor(op.table).type == .bfloat16
      return op.table.elementCount * (isBF16 ? 2 : 4)
    case .linear(let op):
      return try matrixBytes([op.weight], source, precision)
        + (op.bias.map { $0.elementCount * 4 } ?? 0)
    case .headwiseLinear(let op):
      return op.input.count * op.rows.count * op.weight.columns * 2
    case .experts(let op):
      return try matrixBytes(op.experts.map(\.gate), source, precision)
        + matrixBytes(op.experts.map(\.up), source, precision)
        + matrixBytes(op.experts.map(\.down), source, precision)
    default:
      return operation.weights.reduce(0) { $0 + $1.elementCount * 4 }
    }
  }

  private static func matrixBytes(
    _ weights: [Weight], _ source: any WeightSource, _ precision: CUDAPrecision
  ) throws(WeightError) -> Int {
    let format = MatrixLayout.format(of: try source.matrix(weights[0]), precision)
    let layout = MatrixLayout(format: format, rows: weights[0].rows, columns: weights[0].columns)
    return weights.count * (layout.codeBytes + layout.scaleBytes)
  }
}
