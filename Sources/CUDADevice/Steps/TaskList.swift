// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels

/// The kernels of a step as tasks of one launch (`one_launch.cu`).
struct TaskList {
  private(set) var tasks: [cu_task] = []
  /// What the most of them takes beside what it declares.
  private(set) var sharedBytes = 0
  /// The weights' format beside bfloat16, by its name; nil: there is none.
  private(set) var format: String?
  /// Columns of values, at most: `cu_value_width_few` or `cu_value_width_max`.
  private(set) var valueWidth = Int(cu_value_width_few)
  /// A kernel that cannot be a task of the same launch.
  private(set) var misfit: String?

  /// Appends a launch; its argument is copied.
  mutating func append(
    _ kernel: GPU.Kernel, x: Int, y: Int, z: Int, argument: UnsafeRawPointer
  ) {
    guard misfit == nil else { return }
    guard let (task, byteCount) = task(kernel.name) else {
      misfit = kernel.name
      return
    }
    var entry = cu_task()
    entry.kernel = Int32(task.rawValue)
    (entry.x, entry.y, entry.z) = (Int32(x), Int32(y), Int32(z))
    withUnsafeMutableBytes(of: &entry.argument) { room in
      room.copyMemory(from: UnsafeRawBufferPointer(start: argument, count: byteCount))
    }
    tasks.append(entry)
    sharedBytes = max(sharedBytes, kernel.sharedBytes)
  }

  /// What a kernel is as a task, and the size of its argument.
  private mutating func task(_ name: String) -> (cu_task_kernel, Int)? {
    if name.hasPrefix("product_") { return product(name) }
    if name == "attend_\(cu_value_width_max)" { valueWidth = Int(cu_value_width_max) }
    return Self.tasks[name]
  }

  private mutating func product(_ name: String) -> (cu_task_kernel, Int)? {
    let isGated = name.hasSuffix("_gated_few")
    guard isGated || name.hasSuffix("_few") else { return nil }
    let word = String(
      name.dropFirst("product_".count).dropLast((isGated ? "_gated_few" : "_few").count))
    guard let ownFormat = Self.formats[word] else { return nil }
    sharedBytes = max(sharedBytes, Int(cu_launch_few_bytes(ownFormat, isGated ? 2 : 1)))
    let byteCount = MemoryLayout<cu_product>.size
    if ownFormat == cu_format_bf16 {
      return (isGated ? cu_task_gated_bf16 : cu_task_product_bf16, byteCount)
    }
    guard format == nil || format == word else { return nil }
    format = word
    return (isGated ? cu_task_gated : cu_task_product, byteCount)
  }

  /// Those for which there are launches: bfloat16 in each, and one more; `wgmma` of fp8a8 has none.
  private static let formats = [
    "bf16": cu_format_bf16, "fp8": cu_format_fp8, "w8": cu_format_w8, "w4": cu_format_w4,
    "w8a8": cu_format_w8a8, "sparse": cu_format_sparse,
  ]

  private static let tasks: [String: (cu_task_kernel, Int)] = [
    "rms_norm": (cu_task_norm, MemoryLayout<cu_norm>.size),
    "store": (cu_task_store, MemoryLayout<cu_store>.size),
    "attend_128": (cu_task_attend, MemoryLayout<cu_attention>.size),
    "attend_512": (cu_task_attend, MemoryLayout<cu_attention>.size),
    "merge": (cu_task_merge, MemoryLayout<cu_attention>.size),
    "route_1": (cu_task_route_1, MemoryLayout<cu_route>.size),
    "route_4": (cu_task_route_4, MemoryLayout<cu_route>.size),
    "choose_64": (cu_task_choose_64, MemoryLayout<cu_route>.size),
    "choose_256": (cu_task_choose_256, MemoryLayout<cu_route>.size),
    "combine_experts": (cu_task_combine, MemoryLayout<cu_combine>.size),
    "embed": (cu_task_embed, MemoryLayout<cu_embed>.size),
    "swiglu": (cu_task_swiglu, MemoryLayout<cu_binary>.size),
    "add": (cu_task_add, MemoryLayout<cu_binary>.size),
    "join": (cu_task_join, MemoryLayout<cu_binary>.size),
    "select_outputs": (cu_task_select, MemoryLayout<cu_select>.size),
    "narrow_rows": (cu_task_narrow_rows, MemoryLayout<cu_narrow_rows>.size),
    "quantize_rows": (cu_task_quantize_rows, MemoryLayout<cu_quantize>.size),
  ]
}
