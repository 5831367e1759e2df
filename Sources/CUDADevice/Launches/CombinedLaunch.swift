// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Routed experts, the shared ones, and the sum of both and of what else is added. At few rows the
/// last product of the shared ones adds what each expert gives itself, so that the weighted sum has
/// no kernel of its own; no bit changes.
struct CombinedLaunch {
  /// Products of the routed experts, and the weighted sum of what they give.
  var routed: [Launch]
  var combine: Launch
  /// The gated unit of the shared ones.
  var unit: [Launch]
  /// The last product and its sums: with that sum, and with what it is made of.
  var sum, combiningSum: [Launch]

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let isFew = counts.tokens <= cu_few_tokens
    let launches =
      isFew ? routed + unit + combiningSum : routed + [combine] + unit + sum
    for launch in launches { try launch.queue(on: gpu, counts) }
  }
}

extension Lowering {
  func fuseCombined(_ operations: Range<Int>) {
    let first = operations.lowerBound, routed = list.launches(of: first..<first + 1)
    guard let combination = combinations[first], let combine = routed.last,
      let last = fusions.first(where: {
        $0.kind == .added && $0.operations.upperBound == operations.upperBound
      })?.operations
    else { return }
    let sum = list.launches(of: last)
    guard case .product(var product)? = sum.first else { return }
    func combining(_ argument: Launch.Argument) -> Launch.Argument {
      var kept = argument.assumingMemoryBound(to: cu_prefill.self).pointee
      kept.product.addends.0 = combination.parts
      kept.product.addend_strides.0 = combination.parts_stride
      kept.product.choices = combination.choices
      kept.product.top_k = combination.top_k
      return list.keep(kept)
    }
    product.argument = combining(product.argument)
    if let floats = product.floats { product.floats?.argument = combining(floats.argument) }
    list.fuse(
      operations,
      [
        .combined(
          CombinedLaunch(
            routed: Array(routed.dropLast()), combine: combine,
            unit: list.launches(of: first + 1..<last.lowerBound), sum: sum,
            combiningSum: [.product(product)] + sum.dropFirst()))
      ])
  }
}
