// SPDX-License-Identifier: Apache-2.0

import Program

/// The weights of another source, matrices rounded to bfloat16 where a CPU device in bf16 keeps
/// them so: what feeds linears and experts, but no router, table, norm or bias.
struct CPURoundedWeights: WeightSource {
  let source: any WeightSource
  private let rounded: Set<String>
  /// Of those, what is exact where it is stored as codes.
  private let coded: Set<String>

  /// - Parameter keepsCodes: whether linears and experts multiply stored codes as they are.
  init(_ program: Program, _ source: any WeightSource, keepsCodes: Bool = false) {
    self.source = source
    var names: Set<String> = []
    var heads: Set<String> = []
    for operation in program.operations {
      switch operation {
      case .linear(let op): names.insert(op.weight.name)
      case .headwiseLinear, .experts: names.formUnion(operation.weights.map(\.name))
      default: continue
      }
      if case .headwiseLinear(let op) = operation { heads.insert(op.weight.name) }
    }
    rounded = names
    coded = keepsCodes ? names.subtracting(heads) : []
  }

  init(_ names: Set<String>, _ source: any WeightSource) {
    self.source = source
    rounded = names
    coded = []
  }

  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    let tensor = try source.tensor(weight)
    let isExact = tensor.codes != nil && coded.contains(weight.name)
    guard rounded.contains(weight.name), !isExact else { return tensor }
    let floats = tensor.dequantized().map(Self.nearest)
    let copy = UnsafeMutableBufferPointer<Float>.allocate(capacity: floats.count)
    _ = copy.initialize(from: floats)
    return StoredTensor(
      weight: weight, type: .float32, bytes: UnsafeRawBufferPointer(copy), scales: nil,
      owner: Owner(copy))
  }

  private final class Owner: @unchecked Sendable {  // the memory is never written again
    let memory: UnsafeMutableBufferPointer<Float>
    init(_ memory: UnsafeMutableBufferPointer<Float>) { self.memory = memory }
    deinit { memory.deallocate() }
  }

  /// Of the two neighbours with 8 significant bits the nearer, of equally near ones the even one;
  /// found by comparing distances in 64 bits, not by adding to bit patterns.
  static func nearest(_ value: Float) -> Float {
    let down = Float(bitPattern: value.bitPattern & 0xFFFF_0000)
    let up = Float(bitPattern: (value.bitPattern & 0xFFFF_0000) &+ 0x1_0000)
    let (toDown, toUp) = (abs(Double(value) - Double(down)), abs(Double(up) - Double(value)))
    if toDown == toUp { return down.bitPattern & 0x1_0000 == 0 ? down : up }
    return toDown < toUp ? down : up
  }
}
