// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension EndToEnd {
  /// What `make gpu-bundle` brings to a machine with a GPU, with a command that does nothing but
  /// what goes wrong there: it fails, or does not end.
  @Suite struct GPUScriptTests {
    /// A bundle with a script of `Tools/gpu`.
    private struct Bundle {
      let folder: TemporaryDirectory
      let script: String

      /// - Parameter body: what the command does; `option NAME` gives an option's value.
      init(_ name: String, _ body: String) throws {
        folder = try TemporaryDirectory()
        script = folder.path(name)
        let files = FileManager.default
        for place in ["bin", "goldens"] {
          try files.createDirectory(
            atPath: folder.path(place), withIntermediateDirectories: false)
        }
        try files.copyItem(atPath: Repository.path("Tools/gpu/\(name)"), toPath: script)
        for golden in ["tokens.json", "logits.npy"] {
          try files.copyItem(
            atPath: Repository.path("Tests/Fixtures/mini/\(golden)"),
            toPath: folder.path("goldens/\(golden)"))
        }
        try files.copyItem(
          atPath: Repository.path("Tools/gpu/compare.py"), toPath: folder.path("bin/compare.py"))
        let command = """
          #!/usr/bin/env bash
          words=("$@")
          option() {
            for i in "${!words[@]}"; do
              if [ "${words[i]}" = "$1" ]; then echo "${words[i + 1]}"; fi
            done
          }
          \(body)

          """
        try command.write(
          toFile: folder.path("bin/silica"), atomically: false, encoding: .utf8)
        try files.setAttributes(
          [.posixPermissions: 0o755], ofItemAtPath: folder.path("bin/silica"))
      }

      func run(_ arguments: String...) throws -> Command.Result {
        try Command.run("/usr/bin/timeout", ["--kill-after=5", "60", script] + arguments)
      }
    }

    private static let verified = """
      case $1 in
      logits) cp goldens/logits.npy "$(option --out)" ;;
      generate) echo "an answer" ;;
      verify)
        echo "verify: operations" >&2
        echo "ok    $(option --shapes) $(option --precision) linear: error 0"
        echo "verify: chunks" >&2
        case $(option --shapes):$(option --precision):$(option --rows) in
        tiny-v3:w8:21) sleep 600 ;;
        tiny-v3:fp8:21) kill -SEGV $$ ;;
        tiny-v3:w4:21)
          echo "WRONG tiny-v3 w4 chunks: other bits"
          echo "silica verify: 1 checks failed; seed 1" >&2
          exit 1 ;;
        esac ;;
      esac
      """

    @Test func `a check that fails or does not end stops no other`() throws {
      let bundle = try Bundle("verify", Self.verified)
      let result = try bundle.run("--quick", "--seconds", "15", "--jobs", "4")
      let lines = result.output.split(separator: "\n")
      #expect(result.status == 1)
      let wrong = Set(lines.filter { $0.hasPrefix("WRONG") || $0.hasPrefix("LATE") })
      let messages = [
        "WRONG tiny-v3 w4 chunks: other bits (21 rows)",
        "WRONG tiny-v3 fp8, 21 rows: ended with 139: verify: operations verify: chunks ",
        "WRONG tiny-v3 fp8+fp8, 21 rows: ended with 139: verify: operations verify: chunks ",
      ]
      for message in messages { #expect(wrong.contains(message[...]), "\(result.output)") }
      let cut = wrong.first { $0.hasPrefix("WRONG tiny-v3 w8, 21 rows: was cut after") }
      #expect(cut?.hasSuffix("the last that it said: verify: chunks") == true, "\(wrong)")
      #expect(wrong.count == messages.count + 1, "\(wrong)")
      for shape in ["tiny-v3", "tiny-wide"] {
        for precision in ["bf16", "fp8", "w8", "w4", "w8a8", "sparse", "fp8a8", "int4-128"] {
          #expect(lines.contains("ok    \(shape) \(precision) linear: error 0 (300 rows)"))
        }
      }
      for check in ["mini fp8a8 logits are written", "over gRPC: 'What is Silica?': an answer"] {
        #expect(lines.contains("ok    \(check)"), "\(result.output)")
      }
      #expect(lines.contains { $0.hasPrefix("ok    mini logits in context slices") })
      let last = try #require(lines.last)
      #expect(last.hasPrefix("some checks FAILED"), "\(last)")
      #expect(last.hasSuffix(": tiny-v3 fp8; tiny-v3 fp8+fp8; tiny-v3 w4; tiny-v3 w8"), "\(last)")
    }

    @Test func `what there is no time for is said`() throws {
      let bundle = try Bundle("verify", Self.verified)
      let result = try bundle.run("--quick", "--seconds", "4", "--jobs", "1")
      #expect(result.status == 1)
      #expect(result.output.contains("ok    tiny-v3 bf16 linear: error 0 (21 rows)"))
      #expect(
        result.output.contains("LATE  mini bf16 logits are written was left out: the time is over"))
    }

    @Test func `a figure that fails or is late stops no other`() throws {
      let bundle = try Bundle(
        "bench",
        """
        case $1 in
        logits) ;;
        profile)
          run=$(option --model):$(option --precision)
          echo "$run $(option --kv-precision) $(option --steps)"
          case $run in *:w8a8) sleep 600 ;; *:w4) exit 1 ;; esac ;;
        bench) echo "{\\"temperature\\": $(option --temperature)}" ;;
        esac
        """)
      let result = try bundle.run("--quick", "--seconds", "30")
      #expect(result.status == 1)
      #expect(result.errors.contains("silica qwen-7b/4:w8a8 was too slow"), "\(result.errors)")
      #expect(result.errors.contains("silica qwen-7b/4:w4 FAILED, with 1"), "\(result.errors)")
      let figures = [
        "shape:qwen-7b/4:fp8 fp8 ", "shape:v3/1:fp8 bf16 ", "shape:qwen-7b/4:sparse bf16 ",
        "shape:v2-lite/4:fp8 bf16 one-launch", "{\"temperature\": 0.8}",
      ]
      let lines = result.output.split(separator: "\n")
      for figure in figures { #expect(lines.contains(figure[...]), "\(result.output)") }
    }
  }
}
