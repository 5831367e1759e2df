// SPDX-License-Identifier: Apache-2.0

import Wire

/// Why a proto file gets no Swift: it uses what Silica's wire runtime leaves out on purpose.
struct Refusal: Error {
  let message: String
}

/// The Swift files of a request, one for each proto file that it names.
func generate(
  _ request: Google_Protobuf_CodeGeneratorRequest
) throws(Refusal) -> [Google_Protobuf_CodeGeneratorResponse.File] {
  var schema = Schema()
  var outputs: [Google_Protobuf_CodeGeneratorResponse.File] = []
  var wanted: [(Google_Protobuf_FileDescriptorProto, [UInt8])] = []
  guard request.parameter.isEmpty else {
    throw Refusal(message: "unknown parameter '\(request.parameter)'; there are none")
  }
  for bytes in request.protoFile {
    let file: Google_Protobuf_FileDescriptorProto
    do {
      file = try Google_Protobuf_FileDescriptorProto(decoding: bytes)
    } catch {
      throw Refusal(message: error.message)
    }
    schema.add(file)
    if request.fileToGenerate.contains(file.name) { wanted.append((file, bytes)) }
  }
  for (file, bytes) in wanted {
    try refuseUnsupported(file)
    var printer = Printer()
    try FileGenerator(file: file, bytes: bytes, schema: schema).print(to: &printer)
    outputs.append(
      .with {
        $0.name = SwiftName.outputFile(file.name)
        $0.content = printer.text
      })
  }
  return outputs
}
