// SPDX-License-Identifier: Apache-2.0

internal import Support

/// Which files of a folder hold the model's tensors: one `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
struct ShardIndex {
  private let directory: String
  /// The shards' names, in order.
  private let shards: [String]
  /// Per tensor the shard that should hold it; nil without an index.
  private let weightMap: [String: String]?

  private static let single = "model.safetensors"
  private static let index = "model.safetensors.index.json"

  init(directory: String) throws(CheckpointError) {
    self.directory = directory
    if MappedFile.exists("\(directory)/\(Self.single)") {
      shards = [Self.single]
      weightMap = nil
      return
    }
    let path = "\(directory)/\(Self.index)"
    guard MappedFile.exists(path) else {
      throw CheckpointError(
        "\(directory) holds neither \(Self.single) nor \(Self.index)", code: .notFound)
    }
    let fields = try ConfigurationFields(contentsOf: path)
    guard let map = try fields.fields("weight_map") else {
      throw fields.invalid("weight_map", expected: "an object of tensor names and file names")
    }
    var weightMap: [String: String] = [:]
    for member in map.members() {
      let shard = try map.string(member.key)
      // The name of a file in this folder, not a path out of it.
      guard !shard.isEmpty, shard != "..", !shard.contains(where: { $0 == "/" || $0 == "\0" })
      else { throw map.invalid(member.key, expected: "the name of a file") }
      weightMap[member.key] = shard
    }
    self.weightMap = weightMap
    shards = Set(weightMap.values).sorted()
  }

  /// Maps every shard and finds every tensor in it; `examine` sees what each file says of itself.
  func locations(
    examine: (_ file: String, _ metadata: [String: String]) throws(CheckpointError) -> Void
  ) throws(CheckpointError) -> [String: Checkpoint.Location] {
    var locations: [String: Checkpoint.Location] = [:]
    for shard in shards {
      let path = "\(directory)/\(shard)"
      guard MappedFile.exists(path) else {
        throw CheckpointError(
          "\(path) is missing, expected because \(Self.index) lists it", code: .notFound)
      }
      let file = try MappedFile(path: path)
      let contents = try Safetensors(parsing: file.bytes, file: path)
      try examine(path, contents.metadata)
      for tensor in contents.tensors {
        if let other = locations[tensor.name] {
          throw CheckpointError("tensor \(tensor.name) is in both \(other.file.path) and \(path)")
        }
        locations[tensor.name] = Checkpoint.Location(tensor: tensor, file: file)
      }
    }
    try checkAgainstIndex(locations)
    return locations
  }

  private func checkAgainstIndex(_ locations: [String: Checkpoint.Location])
    throws(CheckpointError)
  {
    for (name, shard) in (weightMap ?? [:]).sorted(by: { $0.key < $1.key }) {
      let path = "\(directory)/\(shard)"
      guard let location = locations[name] else {
        throw CheckpointError(
          "\(path): tensor \(name) is missing, but \(Self.index) lists it there")
      }
      guard location.file.path == path else {
        throw CheckpointError(
          "tensor \(name) is in \(location.file.path), but \(Self.index) lists it in \(path)")
      }
    }
  }
}
