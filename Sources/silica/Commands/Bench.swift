// SPDX-License-Identifier: Apache-2.0

import CPUDevice
import CUDADevice
import Checkpoint
import Engine
import Program
import Step
import Support
import Topology

/// `silica bench`.
enum Bench: Subcommand {
  static let name = "bench"
  static let summary = "measure prefill and decode speed by batch size"

  static let options =
    ModelOptions.options + [
      Option("--batch", "LIST", "batch sizes divided by commas", default: "1,4,16,32"),
      Option("--prompt", "N", "tokens of each prompt", default: "128"),
      Option("--generate", "N", "tokens generated for each prompt", default: "32"),
      Option("--temperature", "T", "of the tokens drawn; 0 is greedy", default: "0"),
      Option("--top-p", "P", "the tokens drawn from make up so much", default: "1"),
      Option("--format", "NAME", "json (a line for each batch size) or table", default: "json"),
    ] + SyntheticOptions.options

  static let discussion = """
    Prompts are random token ids, different for each sequence. `prefill_tokens_per_s` counts from
    the start until the last sequence has its first token, `decode_tokens_per_s` and `step_ms_p50`
    from there until a sequence ends. `fraction_of_memory_bandwidth` relates the weights (on a GPU
    also keys and values) that a decode step reads to the read bandwidth measured in the same run,
    on a CPU with as many threads; a model that fits into the caches can exceed it. `load_s` is the
    time until the model could take its first request. `--model shape:NAME` has random weights in
    the shape of a published model: qwen-7b, llama-8b, v2-lite, v3, or NAME/LAYERS for its first
    layers.
    `--model synthetic` shows what a step costs beside the model.

    example:
      silica bench --model DIR --batch 1,8 --prompt 64 --generate 16
    """

  static func run(_ arguments: Arguments) throws {
    let batches = try arguments.integers("--batch", in: 1...4_096) ?? [1, 4, 16, 32]
    let prompt = try arguments.integer("--prompt", in: 1...1_000_000) ?? 128
    let generate = try arguments.integer("--generate", in: 2...1_000_000) ?? 32
    let format = try arguments.choice("--format", of: ["json", "table"]) ?? "json"
    var sampling = SamplingParameters()
    sampling.temperature = try arguments.float("--temperature") ?? 0
    sampling.topP = try arguments.float("--top-p") ?? 1
    var options = try ModelOptions(arguments)
    options.batchMax = max(batches.max() ?? 1, arguments.has("--max-batch") ? options.batchMax : 1)
    let model = try LoadedModel(options)
    defer { model.engine.shutdown() }
    let memory = try BenchMemory(model)
    let bandwidth = memory.bytesPerSecond
    var table = Table(
      header: ["batch", "prefill t/s", "decode t/s", "step ms p50", "share of bandwidth"])
    for batch in batches {
      let run = try BenchRun(
        engine: model.engine, batch: batch, promptCount: prompt, generateCount: generate,
        sampling: sampling)
      let bytes = memory.bytesPerStep(rows: batch, context: prompt + generate / 2)
      let share = Double(bytes) / (run.stepMilliseconds / 1_000) / bandwidth
      if format == "table" {
        table.rows.append(
          ["\(batch)"]
            + [run.prefillRate, run.decodeRate, run.stepMilliseconds, share].map(rounded))
        continue
      }
      let line: JSON = [
        "batch": .integer(batch), "prompt_tokens": .integer(prompt),
        "generate_tokens": .integer(generate), "temperature": .number(Double(sampling.temperature)),
        "prefill_tokens_per_s": .number(run.prefillRate),
        "decode_tokens_per_s": .number(run.decodeRate),
        "step_ms_p50": .number(run.stepMilliseconds), "weight_bytes_per_step": .integer(bytes),
        "memory_bandwidth_bytes_per_s": .number(bandwidth),
        "fraction_of_memory_bandwidth": .number(share),
        "device": .string(model.deviceSummary), "load_s": .number(model.loadSeconds),
      ]
      Console.out(line.description + "\n")
    }
    if format == "table" {
      Console.out(
        table.text + "loaded in \(rounded(model.loadSeconds)) s: \(model.deviceSummary)\n")
    }
  }

  private static func rounded(_ value: Double) -> String { "\((value * 1_000).rounded() / 1_000)" }
}

/// What memory a benchmark's model is read from, and how much of it a step reads.
private struct BenchMemory {
  private enum Traffic {
    case cpu(WeightTraffic)
    case cuda(CUDATraffic)
  }

  let bytesPerSecond: Double
  private let traffic: Traffic

  init(_ model: LoadedModel) throws {
    let options = model.options
    guard case .cuda(let gpu) = options.device else {
      bytesPerSecond =
        MemoryBandwidth.measure(
          threads: options.threads ?? model.topology.cores.count
        ).bytesPerSecond
      traffic = .cpu(
        try WeightTraffic(
          model.program, from: model.weights, precision: options.cpuPrecision))
      return
    }
    bytesPerSecond = try CUDADevice(CUDADeviceConfiguration(gpu: gpu ?? 0)).limits().bytesPerSecond
    traffic = .cuda(
      try CUDATraffic(
        model.program, from: model.weights, precision: options.cudaPrecision,
        cachePrecision: options.cudaCachePrecision))
  }

  func bytesPerStep(rows: Int, context: Int) -> Int {
    switch traffic {
    case .cpu(let traffic): traffic.bytesPerStep(rows: rows)
    case .cuda(let traffic): traffic.bytesPerStep(rows: rows, context: context)
    }
  }
}
