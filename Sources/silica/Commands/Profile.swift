// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Checkpoint
import Conformance
import Device
import Glibc
import Models
import Program
import Step
import Support

/// `silica profile`.
enum Profile: Subcommand {
  static let name = "profile"
  static let summary = "show where a GPU's time goes in a step of decoding"

  static let options = [
    Option("--model", "DIR", "a checkpoint, or shape:NAME for random weights"),
    Option("--device", "NAME", "cuda:N", default: "cuda:0"),
    Option("--precision", "NAME", "auto, bf16, fp8, w8 or w4", default: "auto: as stored"),
    Option("--batch", "LIST", "batch sizes divided by commas", default: "1,4,32"),
    Option("--context", "N", "keys that each sequence has", default: "1024"),
    Option("--repeats", "N", "steps that a median is taken of", default: "15"),
    Option("--format", "NAME", "table or json (a line for each batch size)", default: "table"),
    Option("--json", "FILE", "append the JSON lines to a file as well"),
  ]

  static let discussion = """
    First the GPU's limits are measured: bytes read a second, and products of tiles in bfloat16.
    Then a step is run with marks between its operations. 'of limit' relates the bytes that an
    operation must read (weights; keys and values) to what could have been read in its time. The
    step's own time and tokens/s are measured without marks, and without a server around.

    example:
      silica profile --model shape:qwen-7b --precision fp8 --batch 1,32
    """

  static func run(_ arguments: Arguments) throws {
    let format = try arguments.choice("--format", of: ["table", "json"]) ?? "table"
    let batches = try arguments.integers("--batch", in: 1...4_096) ?? [1, 4, 32]
    let context = try arguments.integer("--context", in: 1...1_000_000) ?? 1_024
    let repeats = try arguments.integer("--repeats", in: 1...10_000) ?? 15
    let gpu = try gpu(arguments)
    let word =
      try arguments.choice(
        "--precision", of: CUDAPrecision.allCases.map(\.rawValue)) ?? "auto"
    let precision = CUDAPrecision(rawValue: word) ?? .auto
    let subject = try ProfiledModel(arguments.required("--model"), gpu: gpu, precision: precision)
    let limits = try subject.limits()
    let device = try subject.loaded(batch: batches.max() ?? 1, context: context)
    if format == "table" {
      Console.out(
        "cuda:\(gpu) reads \(gigabytes(limits.bytesPerSecond)) GB/s, multiplies "
          + "\(gigabytes(limits.flopsPerSecond / 1_000)) TF/s in bf16 (mma.sync)\n")
    }
    for batch in batches {
      let report = try subject.report(
        of: device, batch: batch, context: context, repeats: repeats, limits: limits)
      let line = report.json.description + "\n"
      Console.out(format == "json" ? line : report.text)
      if let path = arguments.string("--json") { try append(line, to: path) }
    }
  }

  private static func append(_ line: String, to path: String) throws {
    guard let file = fopen(path, "a") else {
      throw CommandError("cannot write \(path): \(String(cString: strerror(errno)))")
    }
    let bytes = Array(line.utf8)
    let isWritten = fwrite(bytes, 1, bytes.count, file) == bytes.count
    guard fclose(file) == 0, isWritten else {
      throw CommandError("cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }

  private static func gpu(_ arguments: Arguments) throws(UsageError) -> Int {
    let name = arguments.string("--device") ?? "cuda:0"
    guard case .cuda(let number) = DeviceKind(name) else {
      throw UsageError("--device is '\(name)'; expected cuda:N")
    }
    return number ?? 0
  }

  static func gigabytes(_ value: Double) -> String { "\((value / 1e8).rounded() / 10)" }
}

/// A model and the GPU that it is run on.
private struct ProfiledModel {
  private static let blockTokens = 16

  private let name: String
  private let gpu: Int
  private let precision: CUDAPrecision
  private let program: Program
  private let weights: any WeightSource
  private let traffic: CUDATraffic

  init(_ model: String, gpu: Int, precision: CUDAPrecision) throws {
    name = model
    self.gpu = gpu
    self.precision = precision
    if model.hasPrefix(ModelShape.prefix) {
      program = try ModelShape(String(model.dropFirst(ModelShape.prefix.count))).program()
      weights = ShapeWeights(program, storage: .bf16, seed: 1)
    } else {
      let checkpoint = try Checkpoint(directory: model)
      program = try Model.program(for: checkpoint)
      weights = checkpoint
    }
    traffic = try CUDATraffic(program, from: weights, precision: precision)
  }

  private func device() throws(DeviceError) -> CUDADevice {
    try CUDADevice(CUDADeviceConfiguration(gpu: gpu, precision: precision))
  }

  func limits() throws(DeviceError) -> CUDADevice.Limits { try device().limits() }

  /// The model on its GPU, with room for so many sequences, and how long loading took.
  func loaded(
    batch: Int, context: Int
  ) throws -> (device: CUDADevice, seconds: Double) {
    guard context <= program.contextLength else {
      throw UsageError("--context is \(context); the model takes \(program.contextLength)")
    }
    let device = try device()
    let capacity = DeviceCapacity(
      rowCountMax: batch, outputCountMax: batch, blockCount: Self.blocks(context) * batch,
      blockTokens: Self.blockTokens)
    let start = Clock.nowNanoseconds
    try device.load(program, from: weights, capacity: capacity, progress: { _ in })
    return (device, Double(Clock.nowNanoseconds - start) / 1e9)
  }

  private static func blocks(_ context: Int) -> Int { (context + blockTokens - 1) / blockTokens }

  func report(
    of loaded: (device: CUDADevice, seconds: Double), batch: Int, context: Int, repeats: Int,
    limits: CUDADevice.Limits
  ) throws -> ProfileReport {
    let blocks = Self.blocks(context)
    var plan = StepPlan(id: 0, tokens: [], sequences: [])
    for index in 0..<batch {
      plan.tokens.append(Int32(index * 97 % program.vocabularySize))
      plan.sequences.append(
        StepSequence(
          id: SequenceID(UInt64(index)), rows: index..<index + 1, firstPosition: context - 1,
          blocks: (0..<Int32(blocks)).map { $0 + Int32(index * blocks) }, outputs: .last))
    }
    let profile = try loaded.device.profile(plan, repeats: repeats)
    var report = ProfileReport(
      model: name, device: loaded.device.summary, batch: batch, context: context,
      loadSeconds: loaded.seconds, stepSeconds: profile.stepSeconds, limits: limits)
    for (index, seconds) in profile.operationSeconds.enumerated() {
      report.add(
        program.operations[index].kind, seconds: seconds,
        bytes: traffic.bytes(ofOperation: index, rows: batch, context: context))
    }
    return report
  }
}

/// Where a step's time went, by kinds of operations.
private struct ProfileReport {
  struct Line {
    var kind: String
    var count = 0
    var seconds = 0.0
    var bytes = 0
  }

  let model: String
  let device: String
  let batch: Int
  let context: Int
  let loadSeconds: Double
  let stepSeconds: Double
  let limits: CUDADevice.Limits
  private var lines: [Line] = []

  init(
    model: String, device: String, batch: Int, context: Int, loadSeconds: Double,
    stepSeconds: Double, limits: CUDADevice.Limits
  ) {
    self.model = model
    self.device = device
    self.batch = batch
    self.context = context
    self.loadSeconds = loadSeconds
    self.stepSeconds = stepSeconds
    self.limits = limits
  }

  mutating func add(_ kind: String, seconds: Double, bytes: Int) {
    let index = lines.firstIndex { $0.kind == kind } ?? lines.count
    if index == lines.count { lines.append(Line(kind: kind)) }
    lines[index].count += 1
    lines[index].seconds += seconds
    lines[index].bytes += bytes
  }

  private var bytes: Int { lines.reduce(0) { $0 + $1.bytes } }

  private func share(_ bytes: Int, _ seconds: Double) -> Double {
    Double(bytes) / max(seconds, 1e-12) / limits.bytesPerSecond
  }

  var text: String {
    var table = Table(header: ["operation", "times", "ms", "GB", "GB/s", "of limit"])
    for line in lines.sorted(by: { $0.seconds > $1.seconds }) {
      table.rows.append([
        line.kind, "\(line.count)", rounded(line.seconds * 1_000),
        rounded(Double(line.bytes) / 1e9),
        Profile.gigabytes(Double(line.bytes) / max(line.seconds, 1e-12)),
        rounded(share(line.bytes, line.seconds)),
      ])
    }
    return "\n\(model) on \(device), batch \(batch), context \(context): step "
      + "\(rounded(stepSeconds * 1_000)) ms, \(rounded(Double(batch) / stepSeconds)) tokens/s, "
      + "\(rounded(share(bytes, stepSeconds))) of the limit; loaded in \(rounded(loadSeconds)) s\n"
      + table.text
  }

  private func rounded(_ value: Double) -> String { "\((value * 1_000).rounded() / 1_000)" }

  var json: JSON {
    [
      "model": .string(model), "device": .string(device), "batch": .integer(batch),
      "context": .integer(context), "load_s": .number(loadSeconds),
      "step_ms": .number(stepSeconds * 1_000),
      "tokens_per_s": .number(Double(batch) / stepSeconds),
      "bytes_per_step": .integer(bytes), "fraction_of_limit": .number(share(bytes, stepSeconds)),
      "limit_bytes_per_s": .number(limits.bytesPerSecond),
      "limit_flops_per_s": .number(limits.flopsPerSecond),
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
