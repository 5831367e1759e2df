// SPDX-License-Identifier: Apache-2.0

import CUDADevice
import Conformance
import Device
import Glibc
import Program
import Support

/// `silica profile`.
enum Profile: Subcommand {
  static let name = "profile"
  static let summary = "show where a GPU's time goes in a step of decoding, and how fast prefill is"

  static let options = [
    Option("--model", "DIR", "a checkpoint, or shape:NAME for random weights"),
    Option("--device", "NAME", "cuda:N", default: "cuda:0"),
    Option(
      "--precision", "NAME",
      "auto, bf16, fp8, w8, w4, w8a8, sparse, fp8a8; of a shape int4-128 …",
      default: "auto: as stored"),
    Option(
      "--kv-precision", "NAME", "of keys and values: auto, bf16 or fp8", default: "auto: bf16"),
    Option(
      "--mla-prefill", "NAME", "latent attention of prompts: absorbed or expanded",
      default: "absorbed"),
    Option("--batch", "LIST", "batch sizes divided by commas", default: "1,4,32"),
    Option("--tables", "LIST", "batch sizes of which operations are listed", default: "--batch"),
    Option(
      "--steps", "NAME", "kernels, graphs or one-launch: how few rows are queued",
      default: "graphs"),
    Option("--context", "N", "keys that each sequence has", default: "1024"),
    Option(
      "--prefill", "LIST", "prompts' tokens divided by commas, each one step", default: "none"),
    Option("--repeats", "N", "steps that a median is taken of", default: "15"),
    Option("--seconds", "N", "after which a median is taken of what there is", default: "10"),
    Option("--format", "NAME", "table or json (a line for each figure)", default: "table"),
    Option("--json", "FILE", "append the JSON lines to a file as well"),
  ]

  static let discussion = """
    First the GPU's limits are measured: bytes read a second, bytes copied (read and written),
    and products of tiles in bfloat16. Then steps of decoding are timed by batch size, from the
    begin of a step until its logits could be read, without a server around; some of them also
    with marks between operations. 'of limit' relates the bytes that must be read (weights; keys
    and values) to what could have been read in that time; beside it is how many kernels a step
    has, if not one. Last come steps of whole prompts: their operations are two for each weight
    and token, and those of attention, in the form that --mla-prefill says; with w8a8 and fp8a8
    too they are related to the limit of bfloat16. With --steps one-launch, steps of up to four
    rows are one kernel each (SILICA_CUDA_STEPS asks for the same elsewhere). Progress is on
    standard error.

    example:
      silica profile --model shape:qwen-7b --precision fp8 --batch 1,32 --prefill 1024
    """

  /// What is to be measured, and where the figures go.
  private struct Request {
    let batches, tables, prompts: [Int]
    let context: Int
    let effort: CUDADevice.Effort
    let isTable: Bool
    let path: String?

    init(_ arguments: Arguments) throws(UsageError) {
      isTable = try arguments.choice("--format", of: ["table", "json"]) ?? "table" == "table"
      batches = try arguments.integers("--batch", in: 1...4_096) ?? [1, 4, 32]
      tables = try arguments.integers("--tables", in: 1...4_096) ?? batches
      prompts = try arguments.integers("--prefill", in: 1...65_535) ?? []
      context = try arguments.integer("--context", in: 1...1_000_000) ?? 1_024
      effort = CUDADevice.Effort(
        repeats: try arguments.integer("--repeats", in: 1...10_000) ?? 15,
        seconds: Double(try arguments.integer("--seconds", in: 1...3_600) ?? 10))
      path = arguments.string("--json")
    }

    func show(_ report: some ProfileReport) throws(CommandError) {
      let line = report.json.description + "\n"
      Console.out(isTable ? report.text : line)
      if let path { try append(line, to: path) }
    }
  }

  static func run(_ arguments: Arguments) throws {
    let request = try Request(arguments)
    let subject = try ProfiledModel(
      arguments.required("--model"), gpu: gpu(arguments), precision: precision(arguments),
      cachePrecision: ModelOptions.cudaCachePrecision(arguments),
      expansion: ModelOptions.expansion(arguments), steps: steps(arguments))
    let limits = try subject.limits()
    try request.show(limits)
    progress("\(subject.title): loading")
    let run = try subject.loaded(
      batch: request.batches.max() ?? 1, context: request.context,
      prompt: request.prompts.max() ?? 1, limits)
    progress("\(subject.title): loaded in \(rounded(run.loadSeconds)) s")
    var failures = 0
    /// What fails stops nothing else, but a GPU that has failed fails all that comes after.
    func attempt(
      _ figure: String, _ body: () throws(DeviceError) -> any ProfileReport
    ) throws(CommandError) {
      let report: any ProfileReport
      do throws(DeviceError) {
        report = try body()
      } catch {
        failures += 1
        return progress("\(subject.title): \(figure) FAILED: \(error)")
      }
      try request.show(report)
      progress("\(subject.title): \(figure)")
    }
    for batch in request.batches {
      let hasTable = request.tables.contains(batch)
      try attempt("batch \(batch)") { () throws(DeviceError) in
        try run.decode(batch: batch, hasTable: hasTable, request.effort)
      }
    }
    for prompt in request.prompts {
      try attempt("prefill of \(prompt)") { () throws(DeviceError) in
        try run.prefill(tokens: prompt, request.effort)
      }
    }
    guard failures == 0 else { throw CommandError("\(failures) figures failed") }
  }

  private static func progress(_ text: String) { Console.error("profile: \(text)\n") }

  private static func append(_ line: String, to path: String) throws(CommandError) {
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

  private static func precision(_ arguments: Arguments) throws(UsageError) -> String {
    let stored = ShapeWeights.Storage.calibrated.map(\.name)
    let words = CUDAPrecision.allCases.map(\.rawValue) + stored
    return try arguments.choice("--precision", of: words) ?? CUDAPrecision.auto.rawValue
  }

  private static func steps(_ arguments: Arguments) throws(UsageError) -> CUDASteps? {
    try arguments.choice("--steps", of: CUDASteps.allCases.map(\.rawValue)).flatMap(CUDASteps.init)
  }

  static func rounded(_ value: Double) -> String { "\((value * 1_000).rounded() / 1_000)" }
  /// In units of 10⁹, to one place.
  static func billions(_ value: Double) -> String { "\((value / 1e8).rounded() / 10)" }
}
