// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Program

/// Routed experts, the shared ones, and the sum of both and of what else is added. At few rows the
/// gated units of both are one kernel, and the last product of the shared ones adds what each
/// expert gives itself, so that the weighted sum has no kernel of its own; no bit changes.
struct CombinedLaunch {
  /// All of it, with the weighted sum.
  private let many: [Launch]
  /// All of it for few rows, and what is left of that behind `units`.
  private let few, fewBehindUnits: [Launch]
  /// nil where the gated units are no such products.
  private let units: UnitsLaunch?

  /// - Parameters:
  ///   - routed: products of the routed experts, of which the first is their gated unit.
  ///   - combine: the weighted sum of what they give.
  ///   - unit: the gated unit of the shared ones.
  ///   - sum: their last product and its sums, with the weighted sum.
  ///   - combiningSum: the same, with what that is made of.
  init(
    routed: [Launch], combine: Launch, unit: [Launch], sum: [Launch], combiningSum: [Launch],
    _ list: LaunchList
  ) {
    many = routed + [combine] + unit + sum
    few = routed + unit + combiningSum
    units = UnitsLaunch(routed.first, unit.first, list)
    fewBehindUnits = routed.dropFirst() + unit.dropFirst() + combiningSum
  }

  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) {
    let launches: [Launch]
    if counts.tokens > cu_few_tokens {
      launches = many
    } else if let units, try units.queue(on: gpu, counts) {
      launches = fewBehindUnits
    } else {
      launches = few
    }
    for launch in launches { try launch.queue(on: gpu, counts) }
  }
}

/// Gated units of routed experts and of shared ones.
struct UnitsLaunch {
  private let routed: ProductLaunch
  private let sharedTiles: Int
  /// `units_…_few`, and its argument.
  private let kernel: GPU.Kernel
  private let argument: UnsafeMutablePointer<cu_units>

  /// Nil where they are kept in different formats, or codes are still to be made of what they read.
  init?(_ routed: Launch?, _ shared: Launch?, _ list: LaunchList) {
    guard case .product(let routed)? = routed, case .product(let shared)? = shared,
      routed.floats == nil, shared.floats == nil,
      routed.kernels.format == shared.kernels.format, let kernel = routed.kernels.unitsFew
    else { return nil }
    func product(_ launch: ProductLaunch) -> cu_product {
      launch.argument.assumingMemoryBound(to: cu_product.self).pointee
    }
    (self.routed, self.kernel, sharedTiles) = (routed, kernel, shared.tiles)
    let units = cu_units(
      routed: product(routed), shared: product(shared), work_count: 0,
      shared_tiles: Int32(shared.tiles))
    argument = list.keep(units).assumingMemoryBound(to: cu_units.self)
  }

  /// False where experts have more tokens each, or as tasks of one launch.
  func queue(on gpu: GPU, _ counts: Launch.Counts) throws(CUDAError) -> Bool {
    let work = ExpertWork(
      rows: counts.tokens, topK: routed.slotsPerRow, experts: routed.matrices,
      hasPrefill: routed.prefill != nil)
    guard work.slots <= cu_few_tokens, !counts.areOfOneLaunch else { return false }
    argument.pointee.work_count = Int32(work.count)
    let layers = (sharedTiles + routed.tiles - 1) / routed.tiles
    try gpu.launch(
      kernel, x: routed.tiles, z: work.count + layers,
      argument: UnsafeMutableRawPointer(argument))
    return true
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
    let unit = list.launches(of: first + 1..<last.lowerBound), sum = list.launches(of: last)
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
            routed: routed.dropLast(), combine: combine, unit: unit, sum: sum,
            combiningSum: [.product(product)] + sum.dropFirst(), list))
      ])
  }
}
