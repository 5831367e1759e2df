// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Wire

/// Python's protobuf classes of `Proto/kinds.proto`, twice: on upb, the C library that Python, Ruby
/// and PHP use, and in pure Python, which writes maps in the order of their keys.
final class PythonOracle {
  private let bindings: TemporaryDirectory
  private let upb: PythonProcess
  private let pure: PythonProcess

  init() throws {
    bindings = try TemporaryDirectory()
    let folder = Repository.path("Tests/WireTests/Proto")
    let protoc = try PythonProcess.run([
      "-m", "grpc_tools.protoc", "-I", folder, "--python_out", bindings.path,
      "\(folder)/kinds.proto",
    ])
    try #require(protoc.status == 0, "grpc_tools.protoc: \(protoc.errors)")
    upb = try Self.start("upb", bindings)
    pure = try Self.start("python", bindings)
  }

  private static func start(
    _ implementation: String, _ bindings: TemporaryDirectory
  ) throws -> PythonProcess {
    try PythonProcess(
      script: Repository.path("Tests/WireTests/Python/oracle.py"), arguments: [bindings.path],
      environment: ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation])
  }

  /// A random message, encoded by Python.
  func random(_ kind: Kind, seed: Int) throws -> [UInt8] {
    try ask(pure, "R", kind.name, Array("\(seed)".utf8))
  }

  /// A message given in protobuf's text format, encoded by Python.
  func encode(_ kind: Kind, text: String) throws -> [UInt8] {
    try ask(pure, "T", kind.name, Array(text.utf8))
  }

  /// What upb understands from bytes, encoded again without unknown fields; nil when it refuses
  /// them. Maps are in an order of its own.
  func parse(_ kind: Kind, _ bytes: [UInt8]) throws -> [UInt8]? {
    try parse(kind, bytes, upb)
  }

  /// Where Swift and Python differ about bytes: in accepting them, or in what they hold.
  ///
  /// upb has the word on accepting. On what bytes hold, Swift must agree with one of the two, since
  /// they differ from each other: upb keeps the bits of a NaN, and pure Python keeps a map entry
  /// that has an unknown field in it.
  func difference(_ kind: Kind, _ bytes: [UInt8]) throws -> String? {
    let found = kind.parse(bytes)
    let expected = try parse(kind, bytes, upb)
    guard let found, let expected else {
      if found == nil, expected == nil { return nil }
      return "\(kind) \(hex(bytes)): accepted by \(found == nil ? "upb" : "Swift") only"
    }
    if try found == expected || parse(kind, bytes, pure) == found { return nil }
    if try parse(kind, found, upb) == expected { return nil }
    return "\(kind) \(hex(bytes)): Swift has \(hex(found)), upb \(hex(expected))"
  }

  private func parse(
    _ kind: Kind, _ bytes: [UInt8], _ process: PythonProcess
  ) throws -> [UInt8]? {
    let answer = try ask(process, "P", kind.name, bytes)
    return answer.first == UInt8(ascii: "+") ? Array(answer.dropFirst()) : nil
  }

  private func ask(
    _ process: PythonProcess, _ operation: String, _ name: String, _ rest: [UInt8]
  ) throws -> [UInt8] {
    try process.writeFrame(Array("\(operation)\(name)\n".utf8) + rest)
    return try process.readFrame()
  }
}

/// A message type that Swift and Python both have.
struct Kind: Sendable, CustomStringConvertible {
  let name: String
  /// What Swift understands from bytes, encoded again; nil when it refuses them.
  let parse: @Sendable ([UInt8]) -> [UInt8]?

  init<M: Message>(_ type: M.Type, as name: String? = nil) {
    self.name = name ?? String(M.messageName.dropFirst("silica.test.".count))
    parse = { bytes in (try? M(decoding: bytes)).map { $0.encoded() } }
  }

  var description: String { name }

  static let all = withFields + [Kind(Silica_Test_Empty.self)]

  /// In a message without fields, upb takes even the field number 0.
  static let withFields: [Kind] = [
    Kind(Silica_Test_Scalars.self), Kind(Silica_Test_Optionals.self),
    Kind(Silica_Test_Repeateds.self), Kind(Silica_Test_Unpackeds.self),
    Kind(Silica_Test_Maps.self), Kind(Silica_Test_Oneofs.self), Kind(Silica_Test_Tree.self),
    Kind(Silica_Test_Names.self),
  ]
}

func hex(_ bytes: [UInt8]) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
