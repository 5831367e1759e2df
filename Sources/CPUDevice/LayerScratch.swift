// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program

/// Memory between the phases of routed experts, shared by all layers.
struct ExpertScratch {
  /// `[slots, intermediate]`
  var gates: UnsafeMutablePointer<Float>
  var ups: UnsafeMutablePointer<Float>
  /// `[slots, hidden]`
  var parts: UnsafeMutablePointer<Float>
  var slots: UnsafeMutablePointer<Int32>
  var slotRows: UnsafeMutablePointer<Int32>
}

/// Allocates at first use, large enough for every layer.
final class LayerScratch {
  private var routingLogits: UnsafeMutablePointer<Float>?
  private var expertScratch: ExpertScratch?
  private var codeScratch: [CodesInScratch.Place: ck_codes] = [:]

  /// `[rows, experts]`
  func routing(in lowering: Lowering) throws(DeviceError) -> UnsafeMutablePointer<Float> {
    if let routingLogits { return routingLogits }
    var experts = 0
    for case .route(let op) in lowering.program.operations {
      experts = max(experts, op.weight.rows)
    }
    let logits = try lowering.arena.allocate(
      Float.self, count: experts * lowering.capacity.rowCountMax)
    routingLogits = logits
    return logits
  }

  func experts(in lowering: Lowering) throws(DeviceError) -> ExpertScratch {
    if let expertScratch { return expertScratch }
    var (topK, intermediate, hidden) = (0, 0, 0)
    for case .experts(let op) in lowering.program.operations {
      let slotsPerRow = lowering.program[op.routing].width
      topK = max(topK, slotsPerRow)
      intermediate = max(intermediate, slotsPerRow * op.intermediateWidth)
      hidden = max(hidden, slotsPerRow * lowering.program[op.output].width)
    }
    let (arena, rows) = (lowering.arena, lowering.capacity.rowCountMax)
    let made = ExpertScratch(
      gates: try arena.allocate(Float.self, count: rows * intermediate),
      ups: try arena.allocate(Float.self, count: rows * intermediate),
      parts: try arena.allocate(Float.self, count: rows * hidden),
      slots: try arena.allocate(Int32.self, count: rows * topK),
      slotRows: try arena.allocate(Int32.self, count: rows * topK))
    expertScratch = made
    return made
  }

  /// Codes of what any product reads; `group_count` is left to each.
  func codes(
    _ place: CodesInScratch.Place, in lowering: Lowering
  ) throws(DeviceError) -> ck_codes {
    if let known = codeScratch[place] { return known }
    let count = codeGroupCountMax(place, in: lowering) * lowering.capacity.rowCountMax
    let made = ck_codes(
      codes: try lowering.arena.allocate(Int8.self, count: count * Int(CK_CODE_GROUP)),
      groups: try lowering.arena.allocate(ck_code_group.self, count: count), group_count: 0,
      in_parts: place == .gated ? 1 : 0)
    codeScratch[place] = made
    return made
  }

  /// For each row of a step.
  private func codeGroupCountMax(_ place: CodesInScratch.Place, in lowering: Lowering) -> Int {
    let program = lowering.program
    return program.operations.reduce(0) { most, operation in
      switch operation {
      case .linear(let op) where lowering.place(of: op.input) == place:
        max(most, Self.codeGroupCount(op.weight.columns))
      case .experts(let op) where place == .inputs:
        max(most, Self.codeGroupCount(program[op.input].width))
      case .experts(let op):
        max(most, program[op.routing].width * Self.codeGroupCount(op.intermediateWidth))
      default: most
      }
    }
  }

  /// Groups of a row of activations.
  static func codeGroupCount(_ width: Int) -> Int {
    (width + Int(CK_CODE_GROUP) - 1) / Int(CK_CODE_GROUP)
  }
}
