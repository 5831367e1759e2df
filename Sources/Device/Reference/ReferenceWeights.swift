// SPDX-License-Identifier: Apache-2.0

internal import Program
internal import Support

/// The weights of a program as 32-bit floats: as they lie in the checkpoint where they are stored
/// so, else converted once. Read only after `load`.
struct ReferenceWeights {
  /// A converted tensor.
  private final class Converted {
    let values: UnsafeMutablePointer<Float>

    init(_ tensor: StoredTensor) {
      values = .allocate(capacity: tensor.weight.elementCount)
      tensor.dequantize(rows: 0..<tensor.weight.rows, into: values)
    }

    deinit { values.deallocate() }
  }

  private var pointers: [String: UnsafePointer<Float>] = [:]
  /// What keeps the memory behind `pointers`.
  private var owners: [AnyObject] = []

  mutating func load(
    _ program: Program, from source: any WeightSource, progress: (Int) -> Void
  ) throws(DeviceError) {
    var loadedBytes = 0
    for weight in program.weights {
      let tensor: StoredTensor
      do {
        tensor = try source.tensor(weight)
      } catch {
        throw DeviceError(.failedPrecondition, error.message)
      }
      if let shared = tensor.sharedFloat32?.baseAddress {
        owners.append(tensor.owner)
        pointers[weight.name] = shared
      } else {
        let converted = Converted(tensor)
        owners.append(converted)
        pointers[weight.name] = UnsafePointer(converted.values)
      }
      loadedBytes += tensor.bytes.count
      progress(loadedBytes)
    }
  }

  /// A weight's elements, row after row.
  subscript(_ weight: Weight) -> UnsafePointer<Float> {
    guard let pointer = pointers[weight.name] else {
      checkFailed("\(weight) was not loaded", file: #fileID, line: #line)
    }
    return pointer
  }
}
