// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Support

/// The kernels of `CShims/CUDAKernels`, by the names they have there.
struct KernelSet {
  let fetchStep, fetchDraws, tellDrawn: GPU.Kernel
  let embed, rmsNorm, ropeAngles, rope: GPU.Kernel
  let attention: AttentionKernels
  /// nil where prompts are attended to as all else.
  let expanded: ExpandedKernels?
  let route1, route4, route8: RouteTile
  /// By how many experts there are at most.
  let choices: [Choice]
  let groupExperts, combineExperts: GPU.Kernel
  let swiglu, add, join, selectOutputs, largestOfRows: GPU.Kernel
  let sampleWeigh, sampleGather, sampleCut, sampleSum, samplePick: GPU.Kernel
  let adjustRows, largestOfAdjusted, reportParts, reportTop, reportChosen: GPU.Kernel
  let pack, packBlockScales, packCodes, narrow, narrowRows, quantizeRows: GPU.Kernel
  let measureRead, measureCopy, measureFill, measureMatrices: GPU.Kernel
  let sumParts: GPU.Kernel
  let mergeSlices: GPU.Kernel
  /// Bring inputs, and codes, to where products of many tokens take them from.
  private let arrange, arrangeCodes, arrangeE4M3: GPU.Kernel
  /// Brings codes of floats there.
  let arrangeFloats: GPU.Kernel
  /// Products of many tokens with the matrices of heads; nil where a GPU has no `wgmma`.
  let prefillHeads: GPU.Kernel?
  /// Whether there are kernels of `wgmma` for linears and experts, which take arranged inputs.
  let hasPrefill: Bool
  /// For each format that the GPU has products for, by its raw value.
  private let products: [UInt32: ProductKernels]

  /// What chooses experts by their scores.
  struct Choice {
    var experts: Int
    var kernel: GPU.Kernel
    /// Of few rows, behind the scores: by the side of the tiles that are scored.
    var behind: [Int: GPU.Kernel] = [:]
  }

  private static let formats = [
    (cu_format_bf16, "bf16"), (cu_format_fp8, "fp8"), (cu_format_w8, "w8"), (cu_format_w4, "w4"),
    (cu_format_w8a8, "w8a8"), (cu_format_sparse, "sparse"), (cu_format_fp8a8, "fp8a8"),
    (cu_format_int4_32, "int4_32"), (cu_format_int4_64, "int4_64"),
    (cu_format_int4_128, "int4_128"), (cu_format_int8_32, "int8_32"),
    (cu_format_int8_64, "int8_64"), (cu_format_int8_128, "int8_128"),
  ]

  /// Loads the kernels' file.
  init(
    _ gpu: GPU, path: String, _ shape: AttentionShape, _ precision: CUDAPrecision,
    expanded: ExpandedShape? = nil
  ) throws(CUDAError) {
    let module = try KernelFile.load(path, on: gpu)
    let threads = cu_threads
    func kernel(_ name: String) throws(CUDAError) -> GPU.Kernel {
      try gpu.kernel(name, of: module, threads: threads)
    }
    fetchStep = try kernel("fetch_step")
    fetchDraws = try kernel("fetch_draws")
    tellDrawn = try kernel("tell_drawn")
    embed = try kernel("embed")
    rmsNorm = try kernel("rms_norm")
    ropeAngles = try kernel("rope_angles")
    rope = try kernel("rope")
    attention = try AttentionKernels(gpu, module, shape)
    self.expanded = try ExpandedKernels(gpu, module, expanded, packsKeys: attention.packsKeys)
    route1 = RouteTile(side: 1, kernel: try kernel("route_1"))
    route4 = RouteTile(side: 4, kernel: try kernel("route_4"))
    route8 = RouteTile(side: 8, kernel: try kernel("route_8"))
    choices = try Self.choices(gpu, module)
    groupExperts = try gpu.kernel("group_experts", of: module, threads: cu_choose_threads)
    combineExperts = try kernel("combine_experts")
    swiglu = try kernel("swiglu")
    add = try kernel("add")
    join = try kernel("join")
    selectOutputs = try kernel("select_outputs")
    largestOfRows = try kernel("largest_of_rows")
    sampleWeigh = try kernel("sample_weigh")
    sampleGather = try kernel("sample_gather")
    sampleCut = try kernel("sample_cut")
    sampleSum = try kernel("sample_sum")
    samplePick = try kernel("sample_pick")
    adjustRows = try kernel("adjust_rows")
    largestOfAdjusted = try kernel("largest_of_adjusted")
    reportParts = try kernel("report_parts")
    reportTop = try kernel("report_top")
    reportChosen = try kernel("report_chosen")
    pack = try kernel("pack")
    packBlockScales = try kernel("pack_block_scales")
    packCodes = try kernel("pack_codes")
    narrow = try kernel("narrow")
    narrowRows = try kernel("narrow_rows")
    quantizeRows = try kernel("quantize_rows")
    measureRead = try kernel("measure_read")
    measureCopy = try kernel("measure_copy")
    measureFill = try kernel("measure_fill")
    measureMatrices = try kernel("measure_matrices")
    sumParts = try gpu.kernel(
      "sum_parts", of: module, threads: 32 * cu_many_warps_max)
    mergeSlices = try kernel("merge_slices")
    arrange = try kernel("arrange")
    arrangeCodes = try kernel("arrange_codes")
    arrangeE4M3 = try kernel("arrange_e4m3")
    arrangeFloats = try kernel("arrange_floats")
    prefillHeads = try ProductKernels.prefill(gpu, module, "heads")
    let precisions = CUDAPrecision.all(capability: gpu.properties.capability)
    var products: [UInt32: ProductKernels] = [:]
    for (format, name) in Self.formats {
      if format == cu_format_fp8a8 && !precisions.contains(.fp8a8) { continue }
      products[format.rawValue] = try ProductKernels(gpu, module, format, name)
    }
    self.products = products
    hasPrefill = products[cu_format_bf16.rawValue]?.prefill != nil && precision != .sparse
  }

  private static func choices(
    _ gpu: GPU, _ module: GPU.Module
  ) throws(CUDAError) -> [Choice] {
    let (some, many) = (cu_choose_threads, cu_choose_many_threads)
    var choices: [Choice] = []
    for (experts, threads) in [(64, some), (256, some), (cu_experts_max, many)] {
      let kernel = try gpu.kernel("choose_\(experts)", of: module, threads: threads)
      choices.append(Choice(experts: experts, kernel: kernel))
    }
    for index in 0..<2 {
      for side in [1, 4] {
        choices[index].behind[side] = try gpu.kernel(
          "route_\(side)_choose_\(choices[index].experts)", of: module, threads: cu_threads)
      }
    }
    return choices
  }

  /// What brings inputs of a format's products to where those of many tokens take them from.
  func arranger(_ format: cu_format) -> GPU.Kernel {
    switch format {
    case cu_format_w8a8: arrangeCodes
    case cu_format_fp8a8: arrangeE4M3
    default: arrange
    }
  }

  func product(_ format: cu_format) -> ProductKernels {
    guard let kernels = products[format.rawValue] else {
      checkFailed("no products of format \(format)", file: #fileID, line: #line)
    }
    return kernels
  }
}

/// Those of attention, which take more shared memory than they declare.
struct AttentionKernels {
  let store, latentFew, latentValuesFew, merge, mergeCodes: GPU.Kernel
  /// For values of up to `cu_value_width_few` columns and for wider ones; nil without room.
  private let few, many: Attend?
  /// Tiles of keys in shared memory; 0: there is no room for one.
  let stages: Int
  /// Whether keys and values are kept in FP8.
  let packsKeys: Bool
  /// What is said where there is no room.
  private let lack: String

  struct Attend {
    var token: GPU.Kernel
    /// nil without room.
    var window: GPU.Kernel?
    var windowHeads: Int
  }

  init(_ gpu: GPU, _ module: GPU.Module, _ shape: AttentionShape) throws(CUDAError) {
    let threads = cu_threads
    let most = gpu.properties.sharedBytesMax
    let stages = shape.stages(sharedBytesMax: most)
    packsKeys = shape.packedBytes > 0
    let suffix = packsKeys ? "_fp8" : ""
    func kernel(_ name: String, queryRows: Int) throws(CUDAError) -> GPU.Kernel {
      try gpu.kernel(
        name + suffix, of: module, threads: threads,
        sharedBytes: shape.bytes(queryRows: queryRows, stages: stages))
    }
    func attend(_ width: Int, windowHeads: Int) throws(CUDAError) -> Attend? {
      guard stages > 0 else { return nil }
      let hasWindow = shape.fitsWindow(
        queryRows: windowHeads, stages: stages, sharedBytesMax: most)
      return Attend(
        token: try kernel("attend_\(width)", queryRows: cu_tile_heads),
        window: hasWindow
          ? try kernel("attend_window_\(width)", queryRows: windowHeads) : nil,
        windowHeads: windowHeads)
    }
    store = try gpu.kernel("store" + suffix, of: module, threads: threads)
    latentFew = try gpu.kernel(
      "latent_few" + suffix, of: module, threads: threads,
      sharedBytes: Int(cu_few_bytes(cu_format_bf16, 1)))
    latentValuesFew = try gpu.kernel(
      "latent_values_few", of: module, threads: threads,
      sharedBytes: Int(cu_few_bytes(cu_format_bf16, 1)) + cu_normed_rows_bytes)
    merge = try gpu.kernel("merge", of: module, threads: threads)
    mergeCodes = try gpu.kernel("merge_codes", of: module, threads: threads)
    few = try attend(cu_value_width_few, windowHeads: cu_window_heads_few)
    many = try attend(cu_value_width_max, windowHeads: cu_window_heads_many)
    self.stages = stages
    lack =
      "attention with keys of \(shape.keyWidth) columns and values of "
      + "\(shape.valueWidth == 0 ? "the same" : "\(shape.valueWidth)") takes "
      + "\(shape.bytesMin) bytes of shared memory; expected at most \(most), what the GPU has"
  }

  /// For values of so many columns.
  func attend(valueWidth: Int) throws(CUDAError) -> Attend {
    guard let attend = valueWidth <= cu_value_width_few ? few : many else {
      throw CUDAError(.unimplemented, lack)
    }
    return attend
  }
}
