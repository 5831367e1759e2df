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
  /// - Parameter bits: of a code, 8 or 4.
  package static func tensors(
    of programs: [Program], from source: any WeightSource, bits: Int
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
    var tensors = matrices.map { weight in
      PackedTensor(
        weight, .panels(PanelLayout(bits: bits, rows: weight.rows, columns: weight.columns)))
    }
    for weight in heads.union(others) {
      let type = try source.tensor(weight).type
      let plain = heads.contains(weight) ? ElementType.bfloat16 : .float32
      let isCoded = type == .float8e4m3 || type == .codes
      tensors.append(PackedTensor(weight, .elements(isCoded ? plain : type)))
    }
    return tensors
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
    guard let start = UnsafeMutableRawPointer(memory.baseAddress) else { return }
    let type = PackedMatrix.type(of: layout)
    // What lies between and behind panels and scales.
    let end = layout.scaleOffset + layout.scaleCount * 2
    memory[layout.panelBytes..<layout.scaleOffset].update(repeating: 0)
    memory[end..<layout.byteCount].update(repeating: 0)
    let scales = UnsafeRawPointer(start + layout.scaleOffset).assumingMemoryBound(to: UInt16.self)
    let matrix = PackedMatrix(
      panels: start, scales: scales, type: type, inner: layout.columns, columns: layout.rows)
    matrix.pack(tensor, rows: 0..<layout.rows, pool: pool)
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
