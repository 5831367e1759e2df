// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Support

/// One of the things that `silica profile` says.
protocol ProfileReport {
  var text: String { get }
  var json: JSON { get }
}

/// What the GPU can do.
struct LimitsReport: ProfileReport {
  let device: String
  let limits: CUDADevice.Limits

  var text: String {
    "\(device) reads \(Profile.billions(limits.bytesPerSecond)) GB/s, copies "
      + "\(Profile.billions(limits.copiedBytesPerSecond)) GB/s (read and written), multiplies "
      + "\(Profile.billions(limits.flopsPerSecond / 1_000)) TF/s in bf16 (mma.sync)\n"
  }

  var json: JSON {
    [
      "kind": "limits", "engine": "silica", "device": .string(device),
      "read_bytes_per_s": .number(limits.bytesPerSecond),
      "copy_bytes_per_s": .number(limits.copiedBytesPerSecond),
      "matrix_flops_per_s": .number(limits.flopsPerSecond),
    ]
  }
}

/// A step of decoding, and where its time went by kinds of operations, if that was measured.
struct DecodeReport: ProfileReport {
  private struct Line {
    var kind: String
    var count = 0
    var seconds = 0.0
    var bytes = 0
  }

  let run: ProfileRun
  let batch: Int
  let seconds: Double
  let bytes: Int
  /// Of the operations; nil of a step that is to be one launch.
  let kernelCount: Int?
  private var lines: [Line] = []

  init(run: ProfileRun, batch: Int, seconds: Double, bytes: Int, kernelCount: Int?) {
    self.run = run
    self.batch = batch
    self.seconds = seconds
    self.bytes = bytes
    self.kernelCount = kernelCount
  }

  mutating func add(_ kind: String, seconds: Double, bytes: Int) {
    let index = lines.firstIndex { $0.kind == kind } ?? lines.count
    if index == lines.count { lines.append(Line(kind: kind)) }
    lines[index].count += 1
    lines[index].seconds += seconds
    lines[index].bytes += bytes
  }

  private func share(_ bytes: Int, _ seconds: Double) -> Double {
    Double(bytes) / max(seconds, 1e-12) / run.limits.bytesPerSecond
  }

  var text: String {
    let head =
      "\n\(run.name) on \(run.device.summary), batch \(batch), context \(run.context): step "
      + "\(Profile.rounded(seconds * 1_000)) ms, \(Profile.rounded(Double(batch) / seconds)) "
      + "tokens/s, \(Profile.rounded(share(bytes, seconds))) of the limit"
      + (kernelCount.map { ", \($0) kernels" } ?? "") + "; loaded in "
      + "\(Profile.rounded(run.loadSeconds)) s\n"
    if lines.isEmpty { return head }
    var table = Table(header: ["operation", "times", "ms", "us each", "GB", "GB/s", "of limit"])
    for line in lines.sorted(by: { $0.seconds > $1.seconds }) {
      table.rows.append([
        line.kind, "\(line.count)", Profile.rounded(line.seconds * 1e3),
        "\((line.seconds * 1e7 / Double(line.count)).rounded() / 10)",
        Profile.rounded(Double(line.bytes) / 1e9),
        Profile.billions(Double(line.bytes) / max(line.seconds, 1e-12)),
        Profile.rounded(share(line.bytes, line.seconds)),
      ])
    }
    return head + table.text
  }

  var json: JSON {
    [
      "kind": "decode", "engine": "silica", "model": .string(run.name),
      "precision": .string(run.precision),
      "kv_precision": .string(run.cachePrecision.resolved.rawValue),
      "steps": run.steps.map { .string($0.rawValue) } ?? .null,
      "device": .string(run.device.summary),
      "batch": .integer(batch), "context": .integer(run.context),
      "load_s": .number(run.loadSeconds), "step_ms": .number(seconds * 1_000),
      "tokens_per_s": .number(Double(batch) / seconds), "bytes_per_step": .integer(bytes),
      "kernels": kernelCount.map { .integer($0) } ?? .null,
      "fraction_of_limit": .number(share(bytes, seconds)),
      "operations": .array(
        lines.map { line in
          [
            "operation": .string(line.kind), "count": .integer(line.count),
            "ms": .number(line.seconds * 1_000), "bytes": .integer(line.bytes),
            "fraction_of_limit": .number(share(line.bytes, line.seconds)),
          ]
        }),
    ]
  }
}

/// A prompt in one step.
struct PrefillReport: ProfileReport {
  let run: ProfileRun
  let tokens: Int
  let seconds: Double
  let flops: Int

  private var rate: Double { Double(flops) / seconds }

  var text: String {
    "\n\(run.name) on \(run.device.summary), prefill of \(tokens): "
      + "\(Profile.rounded(seconds * 1_000)) ms, \(Profile.rounded(Double(tokens) / seconds)) "
      + "tokens/s, \(Profile.billions(rate / 1_000)) TF/s, "
      + "\(Profile.rounded(rate / run.limits.flopsPerSecond)) of the limit\n"
  }

  var json: JSON {
    [
      "kind": "prefill", "engine": "silica", "model": .string(run.name),
      "precision": .string(run.precision),
      "kv_precision": .string(run.cachePrecision.resolved.rawValue),
      "mla_prefill": .string(run.isExpanded ? "expanded" : "absorbed"),
      "device": .string(run.device.summary),
      "tokens": .integer(tokens), "ms": .number(seconds * 1_000),
      "tokens_per_s": .number(Double(tokens) / seconds), "flops": .integer(flops),
      "fraction_of_matrix_limit": .number(rate / run.limits.flopsPerSecond),
    ]
  }
}
