// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
package import Device
package import Program
internal import Support

/// Values as floats for the host, whatever the GPU keeps them as.
extension CUDADevice {
  package func read(
    _ value: ValueID, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    let rows = rowCount(of: value, loaded, floats: destination.count)
    try read(value, rows: 0..<rows, into: destination)
  }

  package func read(
    _ value: ValueID, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    let shape = loaded.program[value]
    check(
      rows.upperBound <= counts(loaded).rows(shape.rows)
        && destination.count == rows.count * shape.width,
      "\(value) has \(shape.width) columns; \(rows) are not \(destination.count) floats")
    try onGPU { () throws(CUDAError) in
      let places = loaded.lowering.values
      let width = loaded.program[value].width
      if let address = places.floats(value) {
        try eachPart(at: address, of: Float.self, value, rows, loaded) {
          (address, part, floats, stride) throws(CUDAError) in
          try gpu.copyOut(to: floats, from: address, byteCount: part.count * stride * 4)
          try gpu.synchronize()
          for row in part {
            (destination.baseAddress.map { $0 + (row - rows.lowerBound) * width })?.update(
              from: floats + (row - part.lowerBound) * stride, count: width)
          }
        }
      } else if let address = places.narrow(value) {
        try eachPart(at: address, of: UInt16.self, value, rows, loaded) {
          (address, part, codes, stride) throws(CUDAError) in
          try gpu.copyOut(to: codes, from: address, byteCount: part.count * stride * 2)
          try gpu.synchronize()
          for row in part {
            let start = codes + (row - part.lowerBound) * stride
            for column in 0..<width {
              destination[(row - rows.lowerBound) * width + column] =
                Float(bfloat16Bits: start[column])
            }
          }
        }
      } else {
        check(false, "\(value) is codes only")
      }
    }
  }

  package func write(
    _ value: ValueID, from source: UnsafeBufferPointer<Float>
  ) throws(DeviceError) {
    guard let loaded else { return check(false, "the device is not loaded") }
    try onGPU { () throws(CUDAError) in
      let rows = 0..<rowCount(of: value, loaded, floats: source.count)
      let places = loaded.lowering.values
      let width = loaded.program[value].width
      check(
        places.floats(value) != nil || places.narrow(value) != nil, "\(value) is codes only")
      if let address = places.floats(value) {
        try eachPart(at: address, of: Float.self, value, rows, loaded) {
          (address, part, floats, stride) throws(CUDAError) in
          for row in part {
            (floats + (row - part.lowerBound) * stride).update(
              from: source.baseAddress.map { $0 + row * width } ?? UnsafePointer(floats),
              count: width)
          }
          try put(floats, part.count * stride * 4, at: address)
        }
      }
      if let address = places.narrow(value) {
        try eachPart(at: address, of: UInt16.self, value, rows, loaded) {
          (address, part, codes, stride) throws(CUDAError) in
          for row in part {
            let start = codes + (row - part.lowerBound) * stride
            for column in 0..<width {
              start[column] = source[row * width + column].bfloat16Bits
            }
          }
          try put(codes, part.count * stride * 2, at: address)
        }
      }
      try makeCodes(of: value)
    }
  }

  /// Makes the codes of a value's floats, if products take it that its writer has.
  func makeCodes(of value: ValueID) throws(CUDAError) {
    guard let lowering = loaded?.lowering, let loaded,
      lowering.codedInPassing.contains(value) || lowering.mergedAsCodes.contains(value)
    else { return }
    try lowering.quantizing[value]?.queue(on: gpu, counts(loaded))
  }

  /// Waits, since the pinned memory is used again.
  private func put(
    _ source: UnsafeRawPointer, _ byteCount: Int, at address: UInt64
  ) throws(CUDAError) {
    try gpu.copyIn(to: address, from: source, byteCount: byteCount)
    try gpu.synchronize()
  }

  private func rowCount(of value: ValueID, _ loaded: Loaded, floats: Int) -> Int {
    let shape = loaded.program[value]
    let rows = counts(loaded).rows(shape.rows)
    check(
      floats == rows * shape.width, "\(value) has \(rows * shape.width) floats, not \(floats)")
    return rows
  }

  /// Calls `body` for as many rows at once as fit in the pinned memory, with where they are on the
  /// GPU, the memory, and its elements from one row to the next.
  private func eachPart<Element>(
    at address: UInt64, of type: Element.Type, _ value: ValueID, _ rows: Range<Int>,
    _ loaded: Loaded,
    _ body: (UInt64, Range<Int>, UnsafeMutablePointer<Element>, Int) throws(CUDAError) -> Void
  ) throws(CUDAError) {
    guard let start = loaded.transfer.baseAddress else { return }
    let stride = loaded.lowering.values.stride(value)
    let rowBytes = stride * MemoryLayout<Element>.stride
    let rowsAtOnce = max(1, loaded.transfer.count / rowBytes)
    for first in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: rowsAtOnce) {
      try body(
        address + UInt64(first * rowBytes), first..<min(rows.upperBound, first + rowsAtOnce),
        start.assumingMemoryBound(to: type), stride)
    }
  }
}
