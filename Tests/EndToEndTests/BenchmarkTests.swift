// SPDX-License-Identifier: Apache-2.0

import Foundation
import Support
import TestSupport
import Testing

extension EndToEnd {
  /// The benchmarks in their shortest form: they build, run and find what they count.
  @Suite struct BenchmarkTests {
    @Test func `the door is measured against a C++ server, message by message`() throws {
      let folder = try TemporaryDirectory()
      let result = try PythonProcess.run([
        Repository.path("Benchmarks/rpc/run.py"), try SilicaCommand.path(), "--rounds", "1",
        "--streams", "1,8", "--messages", "1", "--methods", "session,generate", "--no-details",
        "--output", folder.path,
      ])
      // Messages of another size than 64 bytes, and generations that are not whole, are failures.
      #expect(result.status == 0, "\(result.errors)")
      let lines = result.output.split(separator: "\n")
      #expect(lines.count { $0.contains("session") || $0.contains("generate") } == 8)
      let stored = try String(contentsOfFile: folder.path("rpc.json"), encoding: .utf8)
      let records = try #require(try JSON(parsing: stored)["medians"]?.arrayValue)
      #expect(records.count == 12)
      for record in records {
        let tokens = (record["streams"]?.integerValue ?? 0) * 256
        #expect(record["tokens"]?.integerValue == tokens)
        if record["mode"]?.stringValue == "messages" {
          #expect(record["messages"]?.integerValue == tokens, "a message for each token")
        }
      }
    }
  }
}
