// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Program

extension ReferenceDevice {
  func route(_ op: Route) {
    let input = floats(op.input)
    let expertCount = op.weight.rows
    let weight = weights[op.weight]
    let bias = op.correctionBias.map { weights[$0] }
    withRouting(op.output) { choices in
      for row in 0..<rowCount(of: op.output) {
        let logits = (0..<expertCount).map { expert in
          dot(input.row(row), weight + expert * input.width, count: input.width)
        }
        let chosen = Self.choose(op, logits: logits, bias: bias)
        choices.replaceSubrange(row * op.topK..<(row + 1) * op.topK, with: chosen)
      }
    }
  }

  /// The experts of one row, best first. See `Route` for the rules.
  private static func choose(
    _ op: Route, logits: [Float], bias: UnsafePointer<Float>?
  ) -> [ExpertChoice] {
    var scores = score(logits, op.scoring)
    var candidates = scores
    if let bias { for expert in candidates.indices { candidates[expert] += bias[expert] } }
    if let groups = op.groups {
      for expert in droppedExperts(candidates, groups) {
        candidates[expert] = groups.score == .largest ? 0 : -.infinity
        scores[expert] = 0
      }
    }
    let best = largest(op.topK, of: candidates)
    let sum = best.reduce(Float(0)) { $0 + scores[$1] }
    let factor = op.normalize ? op.scale / (sum + 1e-20) : op.scale
    return best.map { ExpertChoice(expert: $0, weight: scores[$0] * factor) }
  }

  private static func score(_ logits: [Float], _ scoring: Route.Scoring) -> [Float] {
    switch scoring {
    case .sigmoid: return logits.map { 1 / (1 + expf(-$0)) }
    case .softmax:
      let largest = logits.max() ?? 0
      let exponentials = logits.map { expf($0 - largest) }
      let sum = exponentials.reduce(0, +)
      return exponentials.map { $0 / sum }
    }
  }

  private static func droppedExperts(_ candidates: [Float], _ groups: Route.Groups) -> [Int] {
    let size = candidates.count / groups.count
    let scores = (0..<groups.count).map { group -> Float in
      let members = Array(candidates[group * size..<(group + 1) * size])
      let best = largest(groups.score == .largest ? 1 : 2, of: members)
      return best.reduce(Float(0)) { $0 + members[$1] }
    }
    let kept = Set(largest(groups.kept, of: scores))
    return candidates.indices.filter { !kept.contains($0 / size) }
  }

  /// The indices of the largest elements, in falling order; of equal ones the lowest index first.
  private static func largest(_ count: Int, of values: [Float]) -> [Int] {
    let order = values.indices.sorted { left, right in
      values[left] == values[right] ? left < right : values[left] > values[right]
    }
    return Array(order.prefix(count))
  }

  func experts(_ op: Experts) {
    let input = floats(op.input)
    let output = floats(op.output)
    let topK = program?[op.routing].width ?? 0
    let hidden = FloatMatrix(rows: 3, width: op.intermediateWidth)
    let result = FloatMatrix(rows: 1, width: output.width)
    withRouting(op.routing) { choices in
      for row in 0..<rowCount(of: op.output) {
        output.row(row).update(repeating: 0, count: output.width)
        for choice in choices[row * topK..<(row + 1) * topK] {
          run(op.experts[choice.expert], on: input.row(row), width: input.width, hidden, result)
          addMultiple(choice.weight, of: result.row(0), to: output.row(row), count: output.width)
        }
      }
    }
  }

  /// `result = down · (silu(gate · x) * (up · x))`; `hidden` is room for the parts between.
  private func run(
    _ expert: Experts.Expert, on x: UnsafePointer<Float>, width: Int, _ hidden: FloatMatrix,
    _ result: FloatMatrix
  ) {
    let gate = weights[expert.gate]
    let up = weights[expert.up]
    for index in 0..<hidden.width {
      hidden.row(0)[index] = dot(x, gate + index * width, count: width)
      hidden.row(1)[index] = dot(x, up + index * width, count: width)
    }
    gatedUnit(hidden.row(0), hidden.row(1), into: hidden.row(2), count: hidden.width)
    let down = weights[expert.down]
    for index in 0..<result.width {
      result.row(0)[index] = dot(hidden.row(2), down + index * hidden.width, count: hidden.width)
    }
  }
}
