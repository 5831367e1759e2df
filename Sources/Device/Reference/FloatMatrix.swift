// SPDX-License-Identifier: Apache-2.0

/// Rows of floats in memory that stays where it is. Confined to its device's thread.
struct FloatMatrix {
  private final class Storage {
    let start: UnsafeMutablePointer<Float>

    init(count: Int) {
      start = .allocate(capacity: count)
      start.initialize(repeating: 0, count: count)
    }

    deinit { start.deallocate() }
  }

  private let storage: Storage
  let width: Int

  init(rows: Int, width: Int) {
    storage = Storage(count: max(1, rows * width))
    self.width = width
  }

  private init(_ storage: Storage, width: Int) {
    self.storage = storage
    self.width = width
  }

  /// The same memory, cut into rows of another width.
  func withWidth(_ width: Int) -> FloatMatrix { FloatMatrix(storage, width: width) }

  func row(_ index: Int) -> UnsafeMutablePointer<Float> { storage.start + index * width }
}

/// `Σ left[i] · right[i]`, in eight sums that are added up at the end: always in the same order.
func dot(_ left: UnsafePointer<Float>, _ right: UnsafePointer<Float>, count: Int) -> Float {
  var sums = SIMD8<Float>.zero
  let whole = count - count % 8
  let leftBytes = UnsafeRawPointer(left)
  let rightBytes = UnsafeRawPointer(right)
  for index in stride(from: 0, to: whole, by: 8) {
    let a = leftBytes.loadUnaligned(fromByteOffset: index * 4, as: SIMD8<Float>.self)
    let b = rightBytes.loadUnaligned(fromByteOffset: index * 4, as: SIMD8<Float>.self)
    sums += a * b
  }
  var sum = sums.sum()
  for index in whole..<count { sum += left[index] * right[index] }
  return sum
}

/// `destination[i] += factor · source[i]`.
func addMultiple(
  _ factor: Float, of source: UnsafePointer<Float>, to destination: UnsafeMutablePointer<Float>,
  count: Int
) {
  for index in 0..<count { destination[index] += factor * source[index] }
}
