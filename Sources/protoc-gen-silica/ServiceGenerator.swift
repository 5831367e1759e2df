// SPDX-License-Identifier: Apache-2.0

/// Prints a service: a namespace with a descriptor for each method.
struct ServiceGenerator {
  let service: Google_Protobuf_ServiceDescriptorProto
  /// ".silica.v1"
  let scope: String
  let prefix: String
  let path: [Int32]
  let comments: Comments
  let schema: Schema

  func print(to printer: inout Printer) throws(Refusal) {
    let fullName = String("\(scope).\(service.name)".dropFirst())
    printer.lines(comments.documentation(path))
    try printer.block("package enum \(prefix)\(service.name)") { printer throws(Refusal) in
      printer.line("package static let serviceName = \(quoted(fullName))")
      for (index, method) in service.method.enumerated() {
        printer.line()
        printer.lines(comments.documentation(path + [2, Int32(index)]))
        try printMethod(method, to: &printer)
      }
      let names = service.method.map { "\(methodName($0)).signature" }
      printer.line()
      printer.line("/// All methods, in the order of the proto file.")
      if names.isEmpty {
        printer.line("package static let methods: [MethodSignature] = []")
      } else {
        printer.list("package static let methods: [MethodSignature] = [", names, end: "]")
      }
    }
  }

  private func printMethod(
    _ method: Google_Protobuf_MethodDescriptorProto, to printer: inout Printer
  ) throws(Refusal) {
    let request = try schema.swiftName(method.inputType)
    let response = try schema.swiftName(method.outputType)
    printer.line("package static let \(methodName(method)) = MethodDescriptor<")
    printer.line("  \(request), \(response)")
    printer.line(">(")
    printer.line("  MethodSignature(")
    printer.line("    service: serviceName, method: \(quoted(method.name)),")
    printer.line(
      "    clientStreaming: \(method.clientStreaming), "
        + "serverStreaming: \(method.serverStreaming)))")
  }

  private func methodName(_ method: Google_Protobuf_MethodDescriptorProto) -> String {
    SwiftName.escaped(SwiftName.lowerCamel(method.name))
  }
}
