// SPDX-License-Identifier: Apache-2.0

import Foundation
import Messages
import TestSupport
import Testing
import Wire

/// The plugin, run by protoc as `Tools/proto.sh` runs it.
@Suite struct GeneratorTests {
  /// It is built beside the tests.
  private static var plugin: String {
    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("protoc-gen-silica").path
  }

  private func generate(_ proto: String) throws -> (result: Command.Result, output: String?) {
    let folder = try TemporaryDirectory()
    try proto.write(toFile: folder.path("a.proto"), atomically: true, encoding: .utf8)
    let result = try PythonProcess.run([
      "-m", "grpc_tools.protoc", "-I", folder.path, "--plugin=protoc-gen-silica=\(Self.plugin)",
      "--silica_out=\(folder.path)", folder.path("a.proto"),
    ])
    return (result, try? String(contentsOfFile: folder.path("a.pb.swift"), encoding: .utf8))
  }

  @Test(arguments: [
    ("syntax = \"proto2\"; message M { optional int32 a = 1; }", "a.proto: syntax is proto2"),
    ("syntax = \"proto2\"; message M { optional group G = 1 {} }", "a.proto: syntax is proto2"),
    ("message M { required int32 a = 1; }", "a.proto: syntax is proto2"),
    ("edition = \"2023\"; message M { int32 a = 1; }", "edition"),
    (
      """
      syntax = "proto3"; package p; import "google/protobuf/descriptor.proto";
      extend google.protobuf.FieldOptions { optional string unit = 50000; }
      """, "a.proto: extension 'unit' is not supported"
    ),
    (
      """
      syntax = "proto3"; package p; import "google/protobuf/descriptor.proto";
      message M { extend google.protobuf.FieldOptions { optional string unit = 50000; } }
      """, "a.proto: extension 'p.M.unit' is not supported"
    ),
  ])
  func `what is not supported is refused by name`(proto: String, message: String) throws {
    let (result, output) = try generate(proto)
    #expect(result.status != 0 && output == nil)
    #expect(result.errors.contains(message), "\(result.errors)")
  }

  @Test func `comments become documentation, and names become Swift's`() throws {
    let (result, output) = try generate(
      """
      syntax = "proto3";
      package some_corp.v2;
      // Where to find it.
      message Place {
        // The address,
        //
        // whole.
        string base_url = 1;
        int32 count = 2;  // How many.
      }
      """)
    #expect(result.status == 0, "\(result.errors)")
    let source = try #require(output)
    for line in [
      "/// Where to find it.\npackage struct SomeCorp_V2_Place: Message {",
      "  /// The address,\n  ///\n  /// whole.\n  package var baseURL: String = \"\"",
      "  /// How many.\n  package var count: Int32 = 0",
    ] {
      #expect(source.contains(line), "\(source)")
    }
  }

  @Test func `a file's descriptor is what Python's reflection reads`() throws {
    let script = try TemporaryDirectory()
    let program = """
      import sys
      from google.protobuf import descriptor_pb2, descriptor_pool
      pool = descriptor_pool.DescriptorPool()
      for line in open(sys.argv[1]):
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(bytes.fromhex(line)))
      method = pool.FindMethodByName('silica.v1.Inference.Session')
      print(method.input_type.full_name, method.client_streaming)
      for symbol in sys.argv[2:]:
        pool.FindFileContainingSymbol(symbol)
      """
    // A file comes after those that it imports, which are all there.
    var pending = FileDescriptor.all
    var ordered: [FileDescriptor] = []
    while !pending.isEmpty {
      let names = ordered.map(\.name)
      let ready = try #require(
        pending.firstIndex { $0.dependencies.allSatisfy(names.contains) })
      ordered.append(pending.remove(at: ready))
    }
    let file = script.path("descriptors")
    try ordered.map { hex($0.serialized) + "\n" }.joined()
      .write(toFile: file, atomically: true, encoding: .utf8)
    let result = try PythonProcess.run(["-c", program, file] + ordered.flatMap(\.symbols))
    #expect(result.output == "silica.v1.ClientFrame True\n", "\(result.errors)")
    #expect(ordered.flatMap(\.symbols).contains("google.rpc.BadRequest.FieldViolation"))
  }
}
