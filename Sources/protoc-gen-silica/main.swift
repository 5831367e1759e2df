// SPDX-License-Identifier: Apache-2.0

// A plugin of protoc: `protoc --plugin=protoc-gen-silica --silica_out=FOLDER file.proto`.
// A refused file is reported in the response, as protoc wants it; exit status 1 means that the
// request itself could not be read.

import Glibc
import Wire

do {
  let request = try Google_Protobuf_CodeGeneratorRequest(decoding: readStandardInput())
  write(respond(to: request).encoded(), to: STDOUT_FILENO)
} catch {
  let line = "protoc-gen-silica: standard input holds no CodeGeneratorRequest: \(error)\n"
  write(Array(line.utf8), to: STDERR_FILENO)
  exit(1)
}

func respond(
  to request: Google_Protobuf_CodeGeneratorRequest
) -> Google_Protobuf_CodeGeneratorResponse {
  .with {
    $0.supportedFeatures = 1
    do throws(Refusal) {
      $0.file = try generate(request)
    } catch {
      $0.error = error.message
    }
  }
}

func readStandardInput() -> [UInt8] {
  var input: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(STDIN_FILENO, &chunk, chunk.count)
    guard count > 0 else { return input }
    input += chunk[..<count]
  }
}

func write(_ output: [UInt8], to descriptor: Int32) {
  var rest = output[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    guard count > 0 else { exit(1) }
    rest = rest.dropFirst(count)
  }
}
