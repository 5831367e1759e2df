// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Models
import Slicing
import Support
import Topology

/// `silica plan`.
enum Plan: Subcommand {
  static let name = "plan"
  static let summary = "show how a model is cut over executors"

  static let options = [
    Option("--model", "DIR", "Hugging Face checkpoint: config.json and *.safetensors"),
    Option("--stages", "N", "ranges of layers", default: "1"),
    Option("--context-slices", "N", "parts of every sequence's keys", default: "1"),
    Option("--threads", "N", "compute threads of each device", default: "its share of the cores"),
    Option("--topology", "DIR", "plan for the machine of this sysfs tree", default: "/"),
    Option("--bandwidth", "GB/S", "memory bandwidth of a device, for the times", default: "20"),
    Option("--format", "NAME", "table or json", default: "table"),
  ]

  static let discussion = """
    Nothing is loaded but the headers. A step of decoding reads every weight once, so a slice's time
    is predicted as the bytes it reads over the bandwidth given.

    example:
      silica plan --model DIR --stages 8
    """

  static func run(_ arguments: Arguments) throws {
    let stages = try arguments.integer("--stages", in: 1...1_024) ?? 1
    let contextSlices = try arguments.integer("--context-slices", in: 1...64) ?? 1
    let threads = try arguments.integer("--threads", in: 1...4_096)
    let bandwidth = try arguments.float("--bandwidth") ?? 20
    guard bandwidth > 0 else { throw UsageError("--bandwidth is \(bandwidth); expected over 0") }
    let format = try arguments.choice("--format", of: ["table", "json"]) ?? "table"
    let checkpoint = try Checkpoint(directory: try arguments.required("--model"))
    let program = try Model.program(for: checkpoint)
    let plan = try SlicePlan(program, stages: stages, contextSlices: contextSlices)
    let topology = try MachineTopology.read(arguments, option: "--topology")
    let placement = Placement(
      topology: topology, deviceCount: plan.executorCount, threadsPerDevice: threads)
    let slices = (0..<plan.executorCount).map { index in
      Slice(plan, executor: index, seat: placement.executors[index], gigabytesPerSecond: bandwidth)
    }
    Console.out(
      format == "json" ? JSON.array(slices.map(\.json)).description + "\n" : table(of: slices))
  }

  private static func table(of slices: [Slice]) -> String {
    var table = Table(
      header: ["executor", "stage", "slice", "layers", "weights", "node", "cpus", "step"])
    for slice in slices {
      table.rows.append([
        "exec-\(slice.executor)", "\(slice.stage)", "\(slice.contextSlice)",
        "\(slice.layers.lowerBound)..\(slice.layers.upperBound - 1)",
        ByteCount.text(slice.weightBytes), "\(slice.seat.node)",
        slice.seat.cpus.map(String.init).joined(separator: ","),
        "\((slice.milliseconds * 1_000).rounded() / 1_000) ms",
      ])
    }
    return table.text
  }

  /// What one executor is given.
  private struct Slice {
    let executor: Int
    let stage: Int
    let contextSlice: Int
    let layers: Range<Int>
    let weightBytes: Int
    let seat: Placement.Seat
    let milliseconds: Double

    init(
      _ plan: SlicePlan, executor: Int, seat: Placement.Seat, gigabytesPerSecond: Float
    ) {
      self.executor = executor
      self.seat = seat
      (stage, contextSlice) = plan.place(ofExecutor: executor)
      let cost = plan.stages[stage].cost
      layers = plan.stages[stage].layers
      // Only the leader of a stage has weights; the others hold keys.
      weightBytes = contextSlice == 0 ? cost.weightBytes : 0
      let bytes = contextSlice == 0 ? cost.bytesReadPerStep : 0
      milliseconds = Double(bytes) / Double(gigabytesPerSecond) / 1e6
    }

    var json: JSON {
      [
        "executor": .integer(executor), "stage": .integer(stage),
        "context_slice": .integer(contextSlice), "first_layer": .integer(layers.lowerBound),
        "layer_count": .integer(layers.count), "weight_bytes": .integer(weightBytes),
        "node": .integer(seat.node), "cpus": .array(seat.cpus.map { .integer($0) }),
        "step_ms": .number(milliseconds),
      ]
    }
  }
}
