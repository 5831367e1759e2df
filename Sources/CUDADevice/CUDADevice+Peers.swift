// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
internal import Support

/// Values that go from GPU to GPU, or from one device of a GPU to another, as floats.
extension CUDADevice: PeerDevice {
  /// What a `CUDADevice` receives.
  private final class PeerHandoff: Handoff {
    let memory: PeerMemory
    let gpu: Int

    init(_ memory: PeerMemory, gpu: Int) {
      self.memory = memory
      self.gpu = gpu
    }
  }

  package func makeHandoff(
    of value: ValueID, places: Int
  ) throws(DeviceError) -> any Handoff {
    guard let loaded else { checkFailed("the device is not loaded", file: #fileID, line: #line) }
    let rows = loaded.most.rows(loaded.program[value].rows)
    let byteCount = rows * loaded.lowering.values.stride(value) * MemoryLayout<Float>.stride
    let memory = try onGPU { () throws(CUDAError) in
      try gpu.makePeerMemory(byteCount, places: places)
    }
    return PeerHandoff(memory, gpu: configuration.gpu)
  }

  package func open(_ handoff: any Handoff) throws(DeviceError) -> HandoffPath {
    guard let handoff = handoff as? PeerHandoff else {
      return .host("cuda:\(configuration.gpu) sends to GPUs only")
    }
    let reach = try onGPU { () throws(CUDAError) in try gpu.open(handoff.memory) }
    switch reach {
    case .same: return .direct("within cuda:\(configuration.gpu)")
    case .peer: return .direct("from cuda:\(configuration.gpu) to cuda:\(handoff.gpu)")
    case .none(let reason): return .host(reason)
    }
  }

  package func send(
    _ value: ValueID, to handoff: any Handoff, place: Int
  ) throws(DeviceError) {
    try crossing(value, handoff) { (memory, address, byteCount) throws(CUDAError) in
      try gpu.send(from: address, byteCount: byteCount, to: memory, place: place)
    }
  }

  package func receive(
    _ value: ValueID, from handoff: any Handoff, place: Int
  ) throws(DeviceError) {
    try crossing(value, handoff) { (memory, address, byteCount) throws(CUDAError) in
      try gpu.receive(into: address, byteCount: byteCount, from: memory, place: place)
      try narrow(value)
      try makeCodes(of: value)
    }
  }

  /// Calls `body` with the places and with where the value's floats are, and how many bytes.
  private func crossing(
    _ value: ValueID, _ handoff: any Handoff,
    _ body: (PeerMemory, UInt64, Int) throws(CUDAError) -> Void
  ) throws(DeviceError) {
    guard let loaded, let address = loaded.lowering.values.floats(value),
      let handoff = handoff as? PeerHandoff
    else { return check(false, "\(value) cannot go from GPU to GPU") }
    let rows = counts(loaded).rows(loaded.program[value].rows)
    let byteCount = rows * loaded.lowering.values.stride(value) * MemoryLayout<Float>.stride
    try onGPU { () throws(CUDAError) in
      try body(handoff.memory, address, byteCount)
    }
  }

  /// Makes what products read of a value's floats, if they read it.
  private func narrow(_ value: ValueID) throws(CUDAError) {
    guard let loaded, loaded.lowering.values.narrow(value) != nil else { return }
    let shape = loaded.program[value]
    let argument = cu_narrow_rows(
      step: loaded.lowering.stepPointer, rows: loaded.lowering.rows(value),
      width: Int32(shape.width), space: Lowering.index(shape.rows))
    try gpu.launch(
      loaded.lowering.kernels.narrowRows, x: counts(loaded).rows(shape.rows), with: argument)
  }
}
