// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// The command on GPUs that are not there: a library with the functions of NVIDIA's driver, which
  /// runs the kernels on this machine's processor (`CShims/CUDAEmulator`).
  @Suite struct EmulatedGPUTests {
    private static let kernels = Repository.path("Tests/Fixtures/cuda/emulated-kernels")

    /// Runs the command with an environment.
    private func run(
      _ variables: [String], _ arguments: [String]
    ) throws -> Command.Result {
      let environment = try Self.environment().map { "\($0.key)=\($0.value)" }
      return try Command.run(
        "/usr/bin/env",
        environment + variables + ["/usr/bin/timeout", "--kill-after=5", "60"]
          + [try SilicaCommand.path()] + arguments)
    }

    /// What makes the command see GPUs that are not there.
    static func environment() throws -> [String: String] {
      let folder = URL(filePath: try SilicaCommand.path()).deletingLastPathComponent()
      return [
        "SILICA_CUDA_LIBRARY": folder.appending(path: "libCUDAEmulator.so").path,
        "SILICA_CUDA_KERNELS": kernels,
      ]
    }

    private func logits(
      _ model: String, _ options: [String], _ variables: [String] = [], errors: [String] = []
    ) throws -> [Float] {
      let folder = try TemporaryDirectory()
      let result = try run(
        variables,
        ["logits", "--model", model, "--tokens", "5,17,230,42,9,77", "--out", folder.path("l.npy")]
          + options)
      try #require(result.status == 0, "\(result.errors)")
      for words in errors { #expect(result.errors.contains(words), "\(result.errors)") }
      return try NumPyArray(contentsOfFile: folder.path("l.npy")).values
    }

    @Test(arguments: ["bf16", "fp8"])
    func `stages, chunks and devices change no bit`(keys: String) throws {
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      let whole = try logits(checkpoint.directory, ["--device", "cuda:0", "--kv-precision", keys])
      for options in [["--stages", "3"], ["--prefill-chunk", "4"]] {
        let other = try logits(
          checkpoint.directory, ["--device", "cuda", "--kv-precision", keys] + options)
        #expect(other.map(\.bitPattern) == whole.map(\.bitPattern), "\(options)")
      }
    }

    /// So many tokens that a prompt of this model takes fewer operations in the expanded form.
    private static let prompt = (0..<70).map { "\($0 * 37 % 251)" }.joined(separator: ",")

    @Test func `prompts' latent attention is expanded where it is asked for`() throws {
      let folder = try TemporaryDirectory()
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      func last(_ options: [String]) throws -> [Float] {
        let result = try run(
          [],
          ["logits", "--model", checkpoint.directory, "--device", "cuda"]
            + ["--tokens", Self.prompt, "--out", folder.path("l.npy")] + options)
        try #require(result.status == 0, "\(result.errors)")
        return Array(try NumPyArray(contentsOfFile: folder.path("l.npy")).values.suffix(256))
      }
      let absorbed = try last([])
      let expanded = try last(["--mla-prefill", "expanded"])
      #expect(expanded.map(\.bitPattern) != absorbed.map(\.bitPattern))
      // By stages, each of which ends where a group does.
      let stages = try last(["--mla-prefill", "expanded", "--stages", "3"])
      #expect(stages.map(\.bitPattern) == expanded.map(\.bitPattern))
      // Chunks below the number from which on it takes fewer.
      let chunks = try last(["--mla-prefill", "expanded", "--prefill-chunk", "20"])
      #expect(chunks.map(\.bitPattern) == absorbed.map(\.bitPattern))
    }

    /// The bundled model's latents are no wider than keys and values together.
    @Test(arguments: [
      ("qwen2", "is for models with latent attention"), ("mini", "takes no fewer operations"),
    ])
    func `models that have nothing to expand are refused`(name: String, words: String) throws {
      let checkpoint = try SyntheticCheckpoint("qwen2")
      let model = name == "mini" ? Repository.path("Models/mini") : checkpoint.directory
      let result = try run(
        [],
        ["logits", "--model", model, "--device", "cuda", "--tokens", "1"]
          + ["--out", "/dev/null", "--mla-prefill", "expanded"])
      #expect(result.status != 0)
      #expect(result.errors.contains(words) && result.errors.contains("--mla-prefill absorbed"))
    }

    @Test func `stages without a way between GPUs change no bit`() throws {
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      let options = ["--device", "cuda", "--stages", "3", "--prefill-chunk", "4"]
      let direct = try logits(checkpoint.directory, options)
      let byHost = try logits(checkpoint.directory, options, ["SILICA_EMULATED_PEERS=0"])
      #expect(direct.map(\.bitPattern) == byHost.map(\.bitPattern))
    }

    @Test(arguments: ["bf16", "fp8"])
    func `context slices without a way between GPUs change no bit`(keys: String) throws {
      let checkpoint = try SyntheticCheckpoint("v3-deep")
      let options = ["--device", "cuda", "--context-slices", "3", "--kv-precision", keys]
      let direct = try logits(
        checkpoint.directory, options, errors: ["from cuda:0 to cuda:1, within cuda:0, without"])
      let byHost = try logits(
        checkpoint.directory, options + ["--prefill-chunk", "4"], ["SILICA_EMULATED_PEERS=0"],
        errors: ["stage 0: through the host, since cuda:0 cannot reach the memory of cuda:1"])
      #expect(direct.map(\.bitPattern) == byHost.map(\.bitPattern))
      let byHostFromMany = try logits(
        checkpoint.directory, options, ["SILICA_EMULATED_GPUS=3", "SILICA_EMULATED_PEERS=1"],
        errors: ["through the host, since cuda:0 reaches as many GPUs as it can, and cuda:2 is"])
      #expect(direct.map(\.bitPattern) == byHostFromMany.map(\.bitPattern))
    }

    /// Whether GPUs reach each other, which are taken, and what is said of the ways.
    private static let ways: [(String, String, [String])] = [
      ("1", "cuda", ["0 and 1: from cuda:0 to cuda:1", "1 and 2: from cuda:1 to cuda:0"]),
      ("0", "cuda", ["through the host, since cuda:0 cannot reach the memory of cuda:1"]),
      ("0", "cuda:1", ["0 and 1: within cuda:1, without the host", "1 and 2: within cuda:1"]),
    ]

    @Test(arguments: ways)
    func `a server says how values go from stage to stage, and they come`(
      peers: String, device: String, words: [String]
    ) throws {
      let checkpoint = try TestModel.withTokenizer("v3-deep")
      var environment = try Self.environment()
      environment["SILICA_EMULATED_PEERS"] = peers
      func ids(_ options: [String], _ words: [String]) throws -> [[Int32]] {
        let server = try RunningServer.start(
          model: checkpoint.directory, ["--device", device, "--prefill-chunk", "9"] + options,
          environment: environment)
        defer { server.stop() }
        for word in words { #expect(server.errors.contains(word), "\(server.errors)") }
        let session = try InferenceClient(server).session()
        for generation in 1...4 as ClosedRange<UInt32> {
          let prompt = checkpoint.prompt.dropLast(Int(generation))
          try session.start(generation, .greedy(Array(prompt), count: 5))
        }
        try session.sendEnd()
        let ids = try session.receiveAll()
        return (1...4).map { ids[$0] ?? [] }
      }
      let whole = try ids([], [])
      #expect(Set(whole).count > 1 && whole.allSatisfy { $0.count == 5 })
      #expect(try ids(["--stages", "3"], words) == whole)
      let sliced = try ids(["--context-slices", "2"], ["context slices of stage 0: "])
      #expect(try ids(["--context-slices", "2", "--stages", "2"], []) == sliced)
    }

    @Test(arguments: [("fp8", "cuda:1"), ("w8a8", "cuda:1"), ("fp8a8", "cuda:0")])
    func `a whole generation comes over gRPC`(precision: String, device: String) throws {
      let result = try run(
        [],
        ["generate", "--model", Repository.path("Models/mini"), "--device", device]
          + ["--precision", precision, "--prompt", "1 + 1", "--max-tokens", "4"]
          + ["--temperature", "0"])
      #expect(result.status == 0, "\(result.errors)")
      #expect(!result.output.isEmpty)
    }

    @Test func `a question is answered with keys and values in FP8`() throws {
      let result = try run(
        [],
        ["generate", "--model", Repository.path("Models/mini"), "--device", "cuda"]
          + ["--kv-precision", "fp8", "--chat", "What is Silica?", "--max-tokens", "8"]
          + ["--temperature", "0"])
      #expect(result.status == 0, "\(result.errors)")
      #expect(result.output.hasPrefix("Silica is a server"), "\(result.output)")
    }

    /// A GPU that holds what a step needs, and not the weights beside.
    private static let smallMemory = "SILICA_EMULATED_MEMORY=105000000"

    @Test func `weights that do not fit lie in the host's memory and change no bit`() throws {
      let mini = Repository.path("Models/mini")
      let options = ["--device", "cuda:0", "--precision", "bf16", "--kv-memory", "24M"]
      let fitting = try logits(mini, options)
      let overflowing = try logits(
        mini, options + ["--gpu-overflow", "100M"], [Self.smallMemory],
        errors: ["warning: ", "outside cuda:0", "the embeddings", "not been measured"])
      #expect(fitting.map(\.bitPattern) == overflowing.map(\.bitPattern))
    }

    /// What beside the option, and what is said.
    private static let overflows: [([String], [String], [String])] = [
      ([smallMemory], [], ["cuda:0 has", "--gpu-overflow SIZE", "slow"]),
      (
        [smallMemory], ["--gpu-overflow", "1M"],
        ["lacks memory", "--gpu-overflow leaves 1.0 MiB of 1.0 MiB"]
      ),
      (
        [smallMemory, "SILICA_EMULATED_MANAGED=0"], ["--gpu-overflow", "100M"],
        ["cannot read the host's memory"]
      ),
      ([], ["--gpu-overflow", "900T"], ["--gpu-overflow is 900", "the host has"]),
    ]

    @Test(arguments: overflows)
    func `what does not fit is said, with what would help`(
      environment: [String], options: [String], words: [String]
    ) throws {
      let result = try run(
        environment,
        ["generate", "--model", Repository.path("Models/mini"), "--device", "cuda:0"]
          + ["--precision", "bf16", "--kv-memory", "24M", "--prompt", "a", "--max-tokens", "2"]
          + options)
      #expect(result.status == 1)
      for word in words { #expect(result.errors.contains(word), "\(result.errors)") }
    }

    @Test func `topology lists the GPUs`() throws {
      let table = try run(["SILICA_EMULATED_GPUS=3"], ["topology"])
      #expect(table.output.contains("  cuda:2 (emulated GPU 2, 1.0 GiB)\n"), "\(table.output)")
      let result = try run([], ["topology", "--format", "json"])
      let devices = try #require(try result.json.objectValue?["devices"]?.objectValue)
      #expect(devices["cuda"]?.arrayValue?.count == 2)
    }

    @Test func `verify finds each operation right, in each precision`() throws {
      let result = try run(
        [],
        ["verify", "--device", "cuda:0", "--shapes", "tiny-v3", "--rows", "9"]
          + ["--checks", "operations,chunks,slices,expanded,draws"])
      #expect(result.status == 0, "\(result.errors)")
      let codes = ["int8", "int4"].flatMap { name in [128, 64, 32].map { "\(name)-\($0)" } }
      let precisions =
        ["bf16", "fp8", "w8", "w4", "w8a8", "sparse", "fp8a8", "bf16 with fp8 keys"] + codes
      for precision in precisions {
        for subject in ["latentAttention: error", "experts: error", "same bits in chunks"] {
          #expect(result.output.contains("ok    tiny-v3 \(precision) \(subject)"))
        }
      }
      for precision in ["bf16", "bf16 with fp8 keys"] {
        #expect(result.output.contains("ok    tiny-v3 \(precision) 3 context slices"))
        #expect(result.output.contains("ok    tiny-v3 \(precision) expanded latentAttention: err"))
        #expect(result.output.contains("ok    tiny-v3 \(precision) expanded latentAttention in"))
      }
      for draws in ["200 tokens drawn from 1000", "20 tokens drawn from 152064"] {
        #expect(result.output.contains("ok    logits f32 \(draws)"), "\(result.output)")
      }
      #expect(!result.output.contains("WRONG"))
    }

    @Test func `a checkpoint's codes are profiled as it stores them`() throws {
      let mini = Repository.path("Models/mini")
      let result = try run([], ["profile", "--model", mini, "--precision", "int4-128"])
      #expect(result.status == 2 && result.errors.contains("as it stores them"))
    }

    @Test func `profile says where a step's time goes`() throws {
      let folder = try TemporaryDirectory()
      let result = try run(
        [],
        ["profile", "--model", "shape:tiny-qwen", "--batch", "2,1", "--context", "20"]
          + ["--precision", "int4-128", "--tables", "2", "--prefill", "33", "--repeats", "2"]
          + ["--kv-precision", "fp8", "--json", folder.path("profile.json")])
      #expect(result.status == 0, "\(result.errors)")
      #expect(result.output.contains("attention") && result.output.contains("of limit"))
      let text = try String(contentsOfFile: folder.path("profile.json"), encoding: .utf8)
      let lines = try text.split(separator: "\n").map { line in
        try #require(try Array(line.utf8).withUnsafeBytes { try JSON(parsing: $0) }.objectValue)
      }
      try #require(
        lines.map { $0["kind"]?.stringValue } == ["limits", "decode", "decode", "prefill"])
      for limit in ["read_bytes_per_s", "copy_bytes_per_s", "matrix_flops_per_s"] {
        #expect(lines[0][limit]?.numberValue ?? 0 > 0)
      }
      #expect(lines[1]["precision"]?.stringValue == "int4-128")
      #expect(lines[1]["kv_precision"]?.stringValue == "fp8")
      #expect(lines[1]["batch"]?.integerValue == 2)
      #expect(lines[1]["fraction_of_limit"]?.numberValue ?? 0 > 0)
      // Four layers of seven, the embeddings, the rows that are wanted, and the head.
      #expect(lines[1]["kernels"]?.integerValue == 4 * 7 + 3)
      #expect(lines.map { $0["operations"]?.arrayValue?.isEmpty } == [nil, false, true, nil])
      // Four layers of queries, keys, values and output, gates and what is behind them; the head
      // for one token; and attention of 8 heads, 16 + 16 wide.
      let layer = 128 * (128 + 2 * 32) + 128 * 128 + 3 * 128 * 192
      let flops = 4 * (2 * 33 * layer + 2 * (33 * 34 / 2) * 8 * 32) + 2 * 256 * 128
      #expect(lines[3]["flops"]?.integerValue == flops)
    }

    @Test func `profile times prompts in the expanded form`() throws {
      func lines(_ options: [String]) throws -> [JSONObject] {
        let result = try run(
          [],
          ["profile", "--model", "shape:tiny-v3", "--precision", "bf16", "--context", "9"]
            + ["--batch", "1", "--tables", "2", "--prefill", "40,70", "--repeats", "1"]
            + ["--format", "json"] + options)
        try #require(result.status == 0, "\(result.errors)")
        return try result.output.split(separator: "\n").suffix(2).map { line in
          try #require(try Array(line.utf8).withUnsafeBytes { try JSON(parsing: $0) }.objectValue)
        }
      }
      let absorbed = try lines([])
      let expanded = try lines(["--mla-prefill", "expanded"])
      #expect(absorbed.map { $0["mla_prefill"]?.stringValue } == ["absorbed", "absorbed"])
      #expect(expanded.map { $0["mla_prefill"]?.stringValue } == ["expanded", "expanded"])
      // From 64 tokens on: 4 layers, 4 heads, 144 columns in place of 80 for each pair.
      let saved = zip(absorbed, expanded).map {
        ($0["flops"]?.integerValue ?? 0) - ($1["flops"]?.integerValue ?? 0)
      }
      #expect(saved == [0, 4 * 4 * 2 * (70 * 71 / 2) * (144 - 80)])
    }

    @Test func `bench takes a shape in place of a model`() throws {
      let result = try run(
        [],
        ["bench", "--model", "shape:tiny-qwen", "--device", "cuda", "--precision", "w4"]
          + ["--batch", "2", "--prompt", "8", "--generate", "3"])
      #expect(result.status == 0, "\(result.errors)")
      #expect(result.output.contains("\"batch\":2"))
      let wrong = try run([], ["bench", "--model", "shape:abacus", "--device", "cuda"])
      #expect(wrong.status == 2 && wrong.errors.contains("'abacus'"), "\(wrong.errors)")
    }

    @Test(arguments: ["w8a8", "fp8a8"])
    func `8-bit activations are profiled too`(precision: String) throws {
      let result = try run(
        [],
        ["profile", "--model", "shape:tiny-qwen", "--batch", "2", "--context", "20"]
          + ["--precision", precision, "--prefill", "80", "--repeats", "2"])
      #expect(result.status == 0, "\(result.errors)")
      #expect(result.output.contains(precision), "\(result.output)")
    }

    @Test(arguments: [
      (["bf16", "fp8", "w8", "w4", "w8a8", "sparse"], "bf16", "kernels, graphs, one-launch"),
      (["fp8a8", "int4-64"], "bf16", "kernels, graphs"), (["w8"], "fp8", "kernels, graphs"),
    ])
    func `verify queues steps in every way`(
      precisions: [String], keys: String, ways: String
    ) throws {
      let result = try run(
        [],
        ["verify", "--device", "cuda:0", "--shapes", "tiny-v3/2", "--rows", "5"]
          + ["--precision", precisions.joined(separator: ","), "--kv-precision", keys]
          + ["--checks", "steps"])
      #expect(result.status == 0, "\(result.errors)")
      for precision in precisions {
        let name = keys == "fp8" ? "\(precision) with fp8 keys" : precision
        #expect(
          result.output.contains("ok    tiny-v3/2 \(name) same bits as \(ways): bit for bit\n"),
          "\(result.output)")
      }
    }

    @Test func `verify says of each check why it failed`() throws {
      let result = try run(
        ["SILICA_EMULATED_FAULT=40"],
        ["verify", "--device", "cuda:0", "--shapes", "tiny-qwen", "--rows", "4"]
          + ["--precision", "bf16", "--checks", "operations,chunks,draws"])
      #expect(result.status == 1)
      let lines = result.output.split(separator: "\n")
      for subject in ["operations: ", "same bits in chunks of 1 and "] {
        let start = "WRONG tiny-qwen bf16 \(subject)"
        #expect(lines.contains { $0.hasPrefix(start) }, "\(result.output)")
      }
      #expect(lines.contains { $0.hasPrefix("WRONG logits f32 200 tokens") }, "\(result.output)")
      // What was under way when it failed, which a check that does not end does not say.
      #expect(result.errors.contains("verify: tiny-qwen bf16: rmsNorm, operation 1\n"))
    }

    /// What the environment says, the device that is asked for, and what the message says.
    private static let failures: [([String], String, [String])] = [
      (["SILICA_CUDA_LIBRARY=/nowhere.so"], "cuda", ["no NVIDIA driver", "/nowhere.so"]),
      (["SILICA_CUDA_LIBRARY=libc.so.6"], "cuda", ["has no function cuInit"]),
      (["SILICA_EMULATED_DRIVER=12080"], "cuda", ["for CUDA 12.8", "CUDA 13.0"]),
      (["SILICA_EMULATED_GPUS=0"], "cuda", ["CUDA_ERROR_NO_DEVICE"]),
      ([], "cuda:2", ["no GPU cuda:2", "cuda:0 to cuda:1"]),
      (
        ["SILICA_EMULATED_MEMORY=10000000"], "cuda:1",
        ["cuda:1 has 9.5 MiB", "for weights", "for keys and values", "--kv-memory"]
      ),
      (["SILICA_CUDA_KERNELS=/nowhere"], "cuda", ["/nowhere", "No such file"]),
      (["SILICA_CUDA_KERNELS=/etc/passwd"], "cuda", ["to load /etc/passwd", "INVALID_IMAGE"]),
      (["SILICA_EMULATED_CAPABILITY=75"], "cuda", ["capability 75", "80 or more"]),
      (["SILICA_EMULATED_CAPABILITY=89"], "cuda", ["101376 bytes of shared memory", "166912"]),
    ]

    @Test(arguments: failures)
    func `what is wrong with a GPU is said`(
      environment: [String], device: String, words: [String]
    ) throws {
      let result = try run(
        environment,
        ["generate", "--model", Repository.path("Models/mini"), "--device", device]
          + ["--prompt", "a", "--max-tokens", "2"])
      #expect(result.status == 1)
      #expect(result.errorLines.count == 1, "\(result.errors)")
      for word in words { #expect(result.errors.contains(word), "\(result.errors)") }
    }

    /// In a step's graph; where its token is drawn, twice; where the next step's plan is brought;
    /// in slices of the keys.
    @Test(arguments: [
      (900, []), (996, []), (997, []), (998, []), (900, ["--context-slices", "2"]),
      (900, ["--context-slices", "3", "--stages", "2"]),
    ] as [(Int, [String])])
    func `a GPU that fails in a step ends its generation and not the process`(
      launch: Int, options: [String]
    ) throws {
      let result = try run(
        ["SILICA_EMULATED_FAULT=\(launch)"],
        ["generate", "--model", Repository.path("Models/mini"), "--device", "cuda"]
          + ["--chat", "12 + 30", "--max-tokens", "64", "--temperature", "0"] + options)
      #expect(result.status == 1)
      for word in ["a device failed", "cuda:0", "in step", "kernel", "CUDA_ERROR_ILLEGAL_ADDRESS"] {
        #expect(result.errors.contains(word), "\(result.errors)")
      }
    }
  }
}
