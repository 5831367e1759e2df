// SPDX-License-Identifier: Apache-2.0

internal import Wire

/// The proto files behind a server's services, found by name and by what they define. Immutable.
struct DescriptorIndex: Sendable {
  /// Full names of the services, in order.
  let services: [String]
  private var files: [String: FileDescriptor] = [:]
  private var fileOfSymbol: [String: String] = [:]

  init(services: [String], files: [FileDescriptor]) {
    self.services = services.sorted()
    for file in files {
      self.files[file.name] = file
      for symbol in file.symbols { fileOfSymbol[symbol] = file.name }
    }
  }

  func file(named name: String) -> String? { files[name]?.name }

  func file(declaring symbol: String) -> String? { fileOfSymbol[symbol] }

  /// A file and all that it imports, itself first, each once.
  func withDependencies(_ name: String) -> [[UInt8]] {
    var seen: Set<String> = [name]
    var names = [name]
    var next = 0
    while next < names.count {
      let dependencies = files[names[next]]?.dependencies ?? []
      names += dependencies.filter { seen.insert($0).inserted }
      next += 1
    }
    return names.compactMap { files[$0]?.serialized }
  }
}
