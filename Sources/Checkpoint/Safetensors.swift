// SPDX-License-Identifier: Apache-2.0

internal import Support

/// The directory of one safetensors file: where each tensor lies in it.
///
/// A file is 8 bytes of header length (least byte first), that many bytes of JSON
/// `{name: {dtype, shape, data_offsets}}`, and the tensors' bytes, row-major, one behind the other
/// without holes. Files come from strangers: whatever they hold, parsing ends in a directory whose
/// ranges lie inside the file and fit their shapes, or in an error.
struct Safetensors {
  struct Tensor: Sendable {
    var name: String
    var type: SafetensorsType
    var shape: [Int]
    /// Bytes of the file.
    var range: Range<Int>
  }

  /// The format's own limit.
  static let headerByteCountMax = 100_000_000

  /// In the order of their bytes.
  let tensors: [Tensor]
  /// `__metadata__`, what the file's writer says of it; without what are no strings.
  let metadata: [String: String]

  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - file: its path, for messages.
  init(parsing bytes: UnsafeRawBufferPointer, file: String) throws(CheckpointError) {
    let header = try Self.header(of: bytes, file: file)
    let json: JSON
    do { json = try JSON(parsing: UnsafeRawBufferPointer(rebasing: bytes[header])) } catch {
      throw CheckpointError("\(file): the header is not valid JSON: \(error)")
    }
    guard let object = json.objectValue else {
      throw CheckpointError("\(file): the header holds \(json.kind), expected an object")
    }
    var tensors: [Tensor] = []
    tensors.reserveCapacity(object.count)
    for member in object.members where member.key != "__metadata__" {
      let entry = TensorEntry(
        file: file, name: member.key, json: member.value, data: header.upperBound..<bytes.count)
      tensors.append(try entry.tensor())
    }
    tensors.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    try Self.checkCover(tensors, header.upperBound..<bytes.count, file: file)
    self.tensors = tensors
    metadata = Self.metadata(object["__metadata__"])
  }

  private static func metadata(_ json: JSON?) -> [String: String] {
    var metadata: [String: String] = [:]
    for member in json?.objectValue?.members ?? [] {
      metadata[member.key] = member.value.stringValue
    }
    return metadata
  }

  /// The bytes of the JSON header.
  private static func header(of bytes: UnsafeRawBufferPointer, file: String)
    throws(CheckpointError) -> Range<Int>
  {
    guard bytes.count >= 8 else {
      throw CheckpointError(
        "\(file) holds \(bytes.count) bytes, expected at least the 8 of a safetensors header")
    }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= headerByteCountMax else {
      throw CheckpointError(
        "\(file): a header of \(length) bytes, expected at most \(headerByteCountMax); "
          + "is it a safetensors file?")
    }
    guard length <= bytes.count - 8 else {
      throw CheckpointError(
        "\(file) is truncated: a header of \(length) bytes in a file of \(bytes.count)")
    }
    let header = 8..<(8 + Int(length))
    guard bytes[header].first == UInt8(ascii: "{") else {
      throw CheckpointError("\(file): the header does not start with '{'; is it safetensors?")
    }
    return header
  }

  /// Each byte of `data` belongs to exactly one tensor.
  private static func checkCover(_ tensors: [Tensor], _ data: Range<Int>, file: String)
    throws(CheckpointError)
  {
    var end = data.lowerBound
    var previous = "the header"
    for tensor in tensors {
      let start = tensor.range.lowerBound
      guard start >= end else {
        throw CheckpointError("\(file): tensor \(tensor.name) overlaps \(previous)")
      }
      guard start == end else {
        throw CheckpointError(
          "\(file): \(start - end) bytes between \(previous) and tensor \(tensor.name), expected 0")
      }
      end = tensor.range.upperBound
      previous = "tensor \(tensor.name)"
    }
    guard end == data.upperBound else {
      throw CheckpointError(
        "\(file): \(data.upperBound - end) bytes behind \(previous), the last, expected 0")
    }
  }
}

/// One member of the header, before it is checked.
private struct TensorEntry {
  let file: String
  let name: String
  let json: JSON
  /// The bytes of the file behind the header.
  let data: Range<Int>

  /// Also of a block scale's shape; more have no use.
  private static let dimensionCountMax = 8

  func tensor() throws(CheckpointError) -> Safetensors.Tensor {
    guard json.objectValue != nil else { throw failure("holds \(json.kind), expected an object") }
    let type = try type()
    let shape = try integers("shape")
    guard shape.count <= Self.dimensionCountMax else {
      throw failure("has \(shape.count) dimensions, expected at most \(Self.dimensionCountMax)")
    }
    let offsets = try integers("data_offsets")
    guard offsets.count == 2, offsets[0] <= offsets[1] else {
      throw failure("has data_offsets \(offsets), expected [begin, end] with begin <= end")
    }
    guard offsets[1] <= data.count else {
      throw failure(
        "ends at byte \(offsets[1]) of the data, but the file holds \(data.count); "
          + "is it truncated?")
    }
    guard let byteCount = type.byteCount(of: shape) else {
      throw failure("has shape \(shape) of \(type.rawValue), which is no whole count of bytes")
    }
    guard byteCount == offsets[1] - offsets[0] else {
      throw failure(
        "holds \(offsets[1] - offsets[0]) bytes, expected \(byteCount) for shape \(shape) of "
          + type.rawValue)
    }
    let start = data.lowerBound
    return Safetensors.Tensor(
      name: name, type: type, shape: shape, range: start + offsets[0]..<start + offsets[1])
  }

  private func type() throws(CheckpointError) -> SafetensorsType {
    guard let name = json["dtype"]?.stringValue else {
      throw failure("has no dtype, expected one as \"BF16\"")
    }
    guard let type = SafetensorsType(rawValue: name) else {
      throw failure("has dtype \"\(name.prefix(40))\", which safetensors does not define")
    }
    return type
  }

  private func integers(_ key: String) throws(CheckpointError) -> [Int] {
    guard let elements = json[key]?.arrayValue else {
      throw failure("has no \(key), expected a list of integers")
    }
    var integers: [Int] = []
    for element in elements {
      guard let integer = element.integerValue, integer >= 0 else {
        throw failure("has \(element) in its \(key), expected integers of at least 0")
      }
      integers.append(integer)
    }
    return integers
  }

  private func failure(_ problem: String) -> CheckpointError {
    CheckpointError("\(file): tensor \(name) \(problem)")
  }
}
