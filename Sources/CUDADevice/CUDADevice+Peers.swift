// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
package import Device
package import Program
internal import Support

/// What a `CUDADevice` receives.
final class PeerHandoff: Handoff {
  enum Memory {
    /// Beside the values.
    case places(PeerMemory)
    /// The values' own.
    case pieces(PeerPieces)
  }

  let memory: Memory
  let gpu: Int

  init(_ memory: Memory, gpu: Int) {
    self.memory = memory
    self.gpu = gpu
  }
}

/// Values that go from GPU to GPU, or from one device of a GPU to another, as floats.
extension CUDADevice: PeerDevice {
  package func makeHandoff(
    of groups: [[ValueID]], places: Int
  ) throws(DeviceError) -> any Handoff {
    guard let loaded else { checkFailed("the device is not loaded", file: #fileID, line: #line) }
    let sizes = groups.map { group in
      group.reduce(0) { $0 + PeerMemory.room(for: byteCount(of: $1, loaded, loaded.most)) }
    }
    let memory = try onGPU { () throws(CUDAError) in
      try gpu.makePeerMemory(sizes.max() ?? 0, places: places)
    }
    return PeerHandoff(.places(memory), gpu: configuration.gpu)
  }

  package func makeHandoff(inPlaceOf groups: [[ValueID]]) throws(DeviceError) -> any Handoff {
    guard let loaded else { checkFailed("the device is not loaded", file: #fileID, line: #line) }
    let pieces = groups.map { group in
      group.map { piece($0, loaded, loaded.most) }
    }
    return PeerHandoff(.pieces(gpu.makePeerPieces(pieces)), gpu: configuration.gpu)
  }

  package func open(_ handoff: any Handoff) throws(DeviceError) -> HandoffPath {
    guard let handoff = handoff as? PeerHandoff else {
      return .host("cuda:\(configuration.gpu) sends to GPUs only")
    }
    let reach = try onGPU { () throws(CUDAError) in
      switch handoff.memory {
      case .places(let memory): try gpu.open(memory)
      case .pieces(let pieces): try gpu.open(pieces)
      }
    }
    switch reach {
    case .same: return .direct("within cuda:\(configuration.gpu)")
    case .peer: return .direct("from cuda:\(configuration.gpu) to cuda:\(handoff.gpu)")
    case .none(let reason): return .host(reason)
    }
  }

  package func send(
    _ values: [ValueID], to handoff: any Handoff, place: Int
  ) throws(DeviceError) {
    let (memory, pieces) = crossing(values, handoff)
    try onGPU { () throws(CUDAError) in
      switch memory {
      case .places(let memory): try gpu.send(pieces, to: memory, place: place)
      case .pieces(let others): try gpu.send(pieces, to: others, group: place)
      }
    }
  }

  package func receive(
    _ values: [ValueID], from handoff: any Handoff, place: Int
  ) throws(DeviceError) {
    let (memory, pieces) = crossing(values, handoff)
    try onGPU { () throws(CUDAError) in
      switch memory {
      case .places(let memory): try gpu.receive(pieces, from: memory, place: place)
      case .pieces(let own): try gpu.awaitArrival(of: own)
      }
      for value in values {
        try narrow(value)
        try makeCodes(of: value)
      }
    }
  }

  /// The places, and where the values' floats of this step are.
  private func crossing(
    _ values: [ValueID], _ handoff: any Handoff
  ) -> (PeerHandoff.Memory, [GPU.Piece]) {
    guard let loaded, let handoff = handoff as? PeerHandoff else {
      checkFailed("\(values) cannot go from GPU to GPU", file: #fileID, line: #line)
    }
    let counts = counts(loaded)
    return (handoff.memory, values.map { piece($0, loaded, counts) })
  }

  private func piece(_ value: ValueID, _ loaded: Loaded, _ counts: Launch.Counts) -> GPU.Piece {
    guard let address = loaded.lowering.values.floats(value) else {
      checkFailed("\(value) is no floats", file: #fileID, line: #line)
    }
    return GPU.Piece(address: address, byteCount: byteCount(of: value, loaded, counts))
  }

  /// Of a value's floats.
  func byteCount(of value: ValueID, _ loaded: Loaded, _ counts: Launch.Counts) -> Int {
    counts.rows(loaded.program[value].rows) * loaded.lowering.values.stride(value)
      * MemoryLayout<Float>.stride
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
