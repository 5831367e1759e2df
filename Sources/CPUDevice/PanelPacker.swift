// SPDX-License-Identifier: Apache-2.0

internal import CKernels
package import Device
package import Program
internal import Support

/// Packs weights to be stored, with the kernels that pack them when a checkpoint is loaded: the
/// bits are the same. Confined to the thread that makes it.
package final class PanelPacker {
  private let arena = Arena()
  private let pool: WorkerPool
  private let memory: UnsafeMutableBufferPointer<UInt8>

  /// - Parameters:
  ///   - byteCountMax: of the largest tensor that is made.
  ///   - threadCount: nil: one for each usable physical core.
  package init(byteCountMax: Int, threadCount: Int?) throws(DeviceError) {
    let configuration = CPUDeviceConfiguration(threadCount: threadCount)
    pool = try WorkerPool(threadCount: try configuration.resolvedThreadCount())
    memory = UnsafeMutableBufferPointer(
      start: try arena.allocate(UInt8.self, count: byteCountMax), count: byteCountMax)
  }

  /// The tensors of a packed checkpoint, from which a device loads what it would make of the source
  /// itself: what multiplies rows as panels; all else as stored, but FP8 and codes as what a device
  /// makes of them. A weight of both kinds is there twice.
  ///
  /// - Parameter bits: of a code, 8 or 4; nil: of codes that were calibrated, as they are stored,
  ///   and nothing else is packed.
  package static func tensors(
    of programs: [Program], from source: any WeightSource, bits: Int?
  ) throws(WeightError) -> [PackedTensor] {
    var matrices: Set<Weight> = []
    var others: Set<Weight> = []
    var heads: Set<Weight> = []
    for operation in programs.flatMap(\.operations) {
      switch operation {
      case .linear(let op):
        matrices.insert(op.weight)
        if let bias = op.bias { others.insert(bias) }
      case .experts: matrices.formUnion(operation.weights)
      case .headwiseLinear(let op): heads.insert(op.weight)
      default: others.formUnion(operation.weights)
      }
    }
    var tensors: [PackedTensor] = []
    for weight in matrices {
      guard let layout = try layout(of: weight, from: source, bits: bits) else {
        // Unless its bytes are codes of FP8, it stays as it is.
        heads.insert(weight)
        others.remove(weight)
        continue
      }
      tensors.append(PackedTensor(weight, .panels(layout)))
    }
    for weight in heads.union(others) {
      let type = try source.tensor(weight).type
      let plain = heads.contains(weight) ? ElementType.bfloat16 : .float32
      let isCoded = type == .float8e4m3 || type == .codes
      tensors.append(PackedTensor(weight, .elements(isCoded ? plain : type)))
    }
    return tensors
  }

  /// Nil for a matrix that is not packed.
  private static func layout(
    of weight: Weight, from source: any WeightSource, bits: Int?
  ) throws(WeightError) -> PanelLayout? {
    if let bits { return PanelLayout(bits: bits, rows: weight.rows, columns: weight.columns) }
    let tensor = try source.tensor(weight)
    guard let codes = tensor.codes else { return nil }
    return PanelLayout(
      bits: codes.bits, rows: weight.rows, columns: weight.columns,
      factors: .scalesAndZeros(group: try PackedMatrix.productGroup(of: tensor)))
  }

  /// The bytes of a packed tensor, made of a stored one; valid until the next call.
  package func bytes(
    of packed: PackedTensor, from tensor: StoredTensor
  ) -> UnsafeRawBufferPointer {
    check(packed.byteCount <= memory.count, "\(packed.weight) has \(packed.byteCount) bytes")
    switch packed.form {
    case .panels(let layout): pack(tensor, layout)
    case .elements(tensor.type): return tensor.bytes
    case .elements: convert(tensor, rounds: packed.form == .elements(.bfloat16))
    }
    return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<packed.byteCount])
  }

  private func pack(_ tensor: StoredTensor, _ layout: PanelLayout) {
    guard let start = memory.baseAddress else { return }
    // What lies between and behind panels, scales and zeros.
    let scaleEnd = layout.scaleOffset + layout.scaleBytes
    let zeroEnd = layout.zeroOffset + layout.zeroBytes
    memory[layout.panelBytes..<layout.scaleOffset].update(repeating: 0)
    memory[scaleEnd..<layout.zeroOffset].update(repeating: 0)
    memory[zeroEnd..<layout.byteCount].update(repeating: 0)
    PackedMatrix(layout, at: start).pack(tensor, rows: 0..<layout.rows, pool: pool)
  }

  private func convert(_ tensor: StoredTensor, rounds: Bool) {
    guard let start = UnsafeMutableRawPointer(memory.baseAddress) else { return }
    for (index, value) in tensor.dequantized().enumerated() {
      if rounds {
        start.storeBytes(of: ck_to_bf16(value), toByteOffset: index * 2, as: UInt16.self)
      } else {
        start.storeBytes(of: value, toByteOffset: index * 4, as: Float.self)
      }
    }
  }
}
