// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// Processes that share the weights on a GPU that is not there: the emulated driver's memory is
  /// memory that processes share, too.
  @Suite struct SharedWeightsTests {
    private let folder: TemporaryDirectory
    private let checkpoint: SyntheticCheckpoint
    private var path: String { folder.path("weights") }

    init() throws {
      folder = try TemporaryDirectory()
      checkpoint = try TestModel.withTokenizer("v3-deep")
    }

    private func start(
      _ options: [String] = [], variables: [String: String] = [:]
    ) throws -> RunningServer {
      try RunningServer.start(
        model: checkpoint.directory,
        ["--device", "cuda", "--kv-memory", "4M", "--share-weights", path] + options,
        environment: try EmulatedGPUTests.environment().merging(variables) { $1 })
    }

    private func ids(_ server: RunningServer) throws -> [Int32] {
      try InferenceClient(server).greedy(checkpoint.prompt, count: 8)
    }

    /// What a process says that cannot use the weights there.
    private func refusal(
      _ options: [String] = [], device: String = "cuda", path: String? = nil
    ) throws -> Command.Result {
      let arguments = [
        "generate", "--model", checkpoint.directory, "--device", device, "--kv-memory", "4M",
        "--share-weights", path ?? self.path, "--prompt", "a", "--max-tokens", "2",
      ]
      return try Command.run(
        "/usr/bin/timeout", ["60", try SilicaCommand.path()] + arguments + options,
        environment: try EmulatedGPUTests.environment())
    }

    @Test func `a second server takes the first one's weights, and gives the same`() throws {
      let first = try start()
      defer { first.stop() }
      let expected = try ids(first)
      let second = try start()
      defer { second.stop() }
      #expect(second.errors.contains("taking the weights that are shared at \(path)"))
      #expect(!first.errors.contains("taking the weights"))
      #expect(try ids(second) == expected)
      #expect(try ids(first) == expected)
      let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
      #expect(mode == 0o600)
    }

    @Test func `weights are taken where a GPU knows no memory that is only read`() throws {
      let first = try start()
      defer { first.stop() }
      let second = try start(variables: ["SILICA_EMULATED_READ_ONLY": "0"])
      defer { second.stop() }
      #expect(second.errors.contains("taking the weights that are shared at \(path)"))
      #expect(try ids(second) == ids(first))
    }

    @Test func `weights outlive the process that loaded them, however it ends`() throws {
      let first = try start(["--stages", "2"])
      defer { first.stop() }
      let expected = try ids(first)
      let second = try start(["--stages", "2"])
      defer { second.stop() }
      #expect(second.errors.contains("taking the weights"))
      first.crash()
      #expect(try ids(second) == expected)
      // Who comes now finds nobody who answers, and loads them itself.
      let third = try start(["--stages", "2"])
      defer { third.stop() }
      #expect(!third.errors.contains("taking the weights"))
      #expect(try ids(third) == expected)
      #expect(try ids(second) == expected)
    }

    @Test func `the crash of one that took them harms nobody`() throws {
      let first = try start()
      defer { first.stop() }
      let expected = try ids(first)
      let second = try start()
      second.crash()
      #expect(try ids(first) == expected)
      let third = try start()
      defer { third.stop() }
      #expect(third.errors.contains("taking the weights"))
      #expect(try ids(third) == expected)
    }

    /// What a process asks for that the first one has not, and what the message says of both.
    private static let others: [([String], String, [String])] = [
      (["--precision", "w8"], "cuda", ["precision auto", "precision w8"]),
      ([], "cuda:1", ["e000,", "e001,"]),
      (["--stages", "2"], "cuda", ["program", "bytes"]),
      (["--mla-prefill", "expanded"], "cuda", ["latents absorbed", "latents expanded"]),
    ]

    @Test(arguments: others)
    func `other weights are refused, and both are named`(
      options: [String], device: String, words: [String]
    ) throws {
      let first = try start()
      defer { first.stop() }
      let result = try refusal(options, device: device)
      #expect(result.status == 1)
      for word in words + ["shares other weights at \(path)", "expected the same"] {
        #expect(result.errors.contains(word), "\(result.errors)")
      }
      #expect(try ids(first).count == 8)
    }

    @Test func `a path that is something else is left alone`() throws {
      try Data("precious".utf8).write(to: URL(filePath: path))
      let result = try refusal()
      #expect(result.status == 1 && result.errors.contains("exists and is no socket"))
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "precious")
      let long = try refusal(path: folder.path(String(repeating: "a", count: 120)))
      #expect(long.status == 1 && long.errors.contains("expected 1 to 107 for a socket"))
    }
  }
}
