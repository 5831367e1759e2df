// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program
internal import Support

/// Where the values of a program are.
struct ValueMemory {
  private let program: Program
  private let assignment: BufferAssignment
  private var buffers: [UnsafeMutableRawPointer] = []

  /// - Parameter groups: operations that run at once, in rising order.
  init(
    _ program: Program, fused groups: [Range<Int>], capacity: DeviceCapacity, arena: Arena
  ) throws(DeviceError) {
    self.program = program
    assignment = BufferAssignment(program, fused: groups)
    for buffer in assignment.buffers {
      let rows = buffer.rows == .tokens ? capacity.rowCountMax : capacity.outputCountMax
      let count = rows * buffer.width
      buffers.append(
        buffer.kind == .floats
          ? UnsafeMutableRawPointer(try arena.allocate(Float.self, count: count))
          : UnsafeMutableRawPointer(try arena.allocate(ck_choice.self, count: count)))
    }
  }

  /// `[rows, width]`, packed at the value's own width.
  func floats(_ value: ValueID) -> UnsafeMutablePointer<Float> {
    check(program[value].kind == .floats, "\(value) holds no floats")
    return buffer(value).assumingMemoryBound(to: Float.self)
  }

  func choices(_ value: ValueID) -> UnsafeMutablePointer<ck_choice> {
    check(program[value].kind == .routing, "\(value) holds no choices")
    return buffer(value).assumingMemoryBound(to: ck_choice.self)
  }

  func columns(_ columns: Columns) -> ck_columns {
    ck_columns(
      data: floats(columns.value) + columns.offset,
      stride: Int64(program[columns.value].width), group: Int64(columns.stride),
      count: Int64(columns.count), width: Int64(columns.width))
  }

  private func buffer(_ value: ValueID) -> UnsafeMutableRawPointer {
    guard let index = assignment[value] else {
      checkFailed("\(value) has no buffer", file: #fileID, line: #line)
    }
    return buffers[index]
  }
}
