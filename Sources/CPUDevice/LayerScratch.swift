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
  private var codeScratch: ck_codes?

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

  /// Codes of the input of any product; `group_count` is left to each.
  func codes(in lowering: Lowering) throws(DeviceError) -> ck_codes {
    if let codeScratch { return codeScratch }
    var groups = 0
    for operation in lowering.program.operations {
      switch operation {
      case .linear(let op): groups = max(groups, Self.codeGroupCount(op.weight.columns))
      case .experts(let op):
        let slots = lowering.program[op.routing].width
        let (hidden, inner) = (lowering.program[op.input].width, op.intermediateWidth)
        groups = max(
          groups, Self.codeGroupCount(hidden), slots * Self.codeGroupCount(inner))
      default: continue
      }
    }
    let count = groups * lowering.capacity.rowCountMax
    let made = ck_codes(
      codes: try lowering.arena.allocate(Int8.self, count: count * Int(CK_CODE_GROUP)),
      groups: try lowering.arena.allocate(ck_code_group.self, count: count), group_count: 0)
    codeScratch = made
    return made
  }

  /// Groups of a row of activations.
  static func codeGroupCount(_ width: Int) -> Int {
    (width + Int(CK_CODE_GROUP) - 1) / Int(CK_CODE_GROUP)
  }
}
