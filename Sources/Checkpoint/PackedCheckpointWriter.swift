// SPDX-License-Identifier: Apache-2.0

internal import Glibc
package import Program
internal import Support

/// Writes a packed checkpoint: a folder with one `model.safetensors` whose matrices are opaque
/// panels (`NAME.panels`, bytes in `PanelLayout`), whose other tensors are as they were, and with
/// the source's other files. Confined to one thread.
///
/// It grows in `FOLDER.partial`, which becomes `FOLDER` when all is on the disk: a folder of that
/// name is whole.
package final class PackedCheckpointWriter {
  /// Files that are copied where the source has them; weights and `config.json` are made anew.
  private static let copiedFiles = [
    "tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
    "chat_template.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "README.md",
  ]

  private let source: Checkpoint
  private let directory: String
  private let precision: String
  /// Panels first, then the wider elements, so that each lies aligned.
  package let parts: [PackedTensor]
  private let file: OutputFile
  private var writtenCount = 0
  /// What the digest of the source is made of: names, and digests of their bytes.
  private var contents: [UInt8] = []
  private var digestOffset = 0
  private var isFinished = false

  private var partial: String { directory + ".partial" }

  /// - Parameters:
  ///   - directory: a folder that is not there yet, or is empty.
  ///   - precision: one of `PackedFormat.precisions`.
  package init(
    to directory: String, of source: Checkpoint, precision: String, parts: [PackedTensor]
  ) throws(CheckpointError) {
    self.source = source
    self.precision = precision
    self.directory = Self.withoutSlashes(directory)
    self.parts = parts.sorted { Self.place($0) < Self.place($1) }
    try Self.refuseExisting(self.directory)
    let partial = self.directory + ".partial"
    guard mkdir(partial, 0o755) == 0 else {
      let isThere = errno == EEXIST
      throw OutputFile.failure(
        "cannot create \(partial)"
          + (isThere ? ", where an interrupted run left something; remove it" : ""))
    }
    do {
      file = try OutputFile(path: "\(partial)/model.safetensors")
    } catch {
      rmdir(partial)
      throw error
    }
    try writeHeader()
  }

  /// Removes what is there of a checkpoint that was not finished.
  deinit {
    guard !isFinished else { return }
    for name in ["model.safetensors", "config.json"] + Self.copiedFiles {
      unlink("\(partial)/\(name)")
    }
    rmdir(partial)
  }

  /// Writes the next of `parts`.
  ///
  /// - Parameters:
  ///   - tensor: what it was made of.
  ///   - bytes: its own bytes, as many as `byteCount` says.
  package func append(
    _ tensor: StoredTensor, as bytes: UnsafeRawBufferPointer
  ) throws(CheckpointError) {
    let part = parts[writtenCount]
    check(bytes.count == part.byteCount, "\(part.weight) has \(bytes.count) bytes")
    check(tensor.weight == part.weight, "\(part.weight) is next, not \(tensor.weight)")
    try file.write(bytes)
    writtenCount += 1
    note(tensor)
  }

  /// Completes the folder and gives it its name.
  package func finish() throws(CheckpointError) {
    check(writtenCount == parts.count, "\(writtenCount) of \(parts.count) tensors are written")
    let digest = ContentDigest.text(contents.withUnsafeBytes { ContentDigest.of($0) })
    try file.overwrite(at: digestOffset, Array(digest.utf8))
    try file.synchronize()
    try writeConfiguration(PackedFormat(precision: precision, source: digest))
    for name in Self.copiedFiles where MappedFile.exists("\(source.directory)/\(name)") {
      let original = try MappedFile(path: "\(source.directory)/\(name)")
      let copy = try OutputFile(path: "\(partial)/\(name)")
      try copy.write(original.bytes)
      try copy.synchronize()
      withExtendedLifetime(original) {}
    }
    guard rename(partial, directory) == 0 else {
      throw OutputFile.failure("cannot rename \(partial) to \(directory)")
    }
    isFinished = true
  }

  // MARK: Parts of it

  private static func refuseExisting(_ directory: String) throws(CheckpointError) {
    guard MappedFile.exists(directory) else { return }
    guard MappedFile.isDirectory(directory), rmdir(directory) == 0 else {
      throw CheckpointError(
        "\(directory) exists already, expected a folder that does not: it is not written over",
        code: .alreadyExists)
    }
  }

  private static func withoutSlashes(_ path: String) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  private static func place(_ part: PackedTensor) -> (Int, String) {
    switch part.form {
    case .panels: (0, part.weight.name)
    case .elements(let type): (8 - type.size, part.weight.name)
    }
  }

  /// The header, with a placeholder for the digest, padded so that the data begins on a page.
  private func writeHeader() throws(CheckpointError) {
    let placeholder = String(repeating: "?", count: 16)
    var metadata = JSONObject()
    _ = metadata.append("format", .string(PackedFormat.name))
    for member in PackedFormat(precision: precision, source: placeholder).members {
      _ = metadata.append(member.key, .string(member.value))
    }
    var header = JSONObject()
    _ = header.append("__metadata__", .object(metadata))
    var offset = 0
    for part in parts {
      check(header.append(part.name, part.entry(at: offset)), "\(part.weight) is there twice")
      offset += part.byteCount
    }
    var text = Array(JSON.object(header).description.utf8)
    // The metadata come first, and nothing in them before the digest is a question mark.
    digestOffset = 8 + (text.firstIndex(of: UInt8(ascii: "?")) ?? 0)
    let pageSize = 4096
    text += repeatElement(UInt8(ascii: " "), count: pageSize - (8 + text.count) % pageSize)
    try file.reserve(8 + text.count + offset)
    try file.write((0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) })
    try file.write(text)
  }

  /// `config.json` with another `quantization_config`.
  private func writeConfiguration(_ format: PackedFormat) throws(CheckpointError) {
    let path = "\(source.directory)/config.json"
    let old = try MappedFile(path: path)
    let json: JSON
    do { json = try JSON(parsing: old.bytes) } catch {
      throw CheckpointError("\(path) is not valid JSON: \(error)")
    }
    withExtendedLifetime(old) {}
    var configuration = JSONObject()
    for member in json.objectValue?.members ?? [] where member.key != "quantization_config" {
      _ = configuration.append(member.key, member.value)
    }
    var section = JSONObject()
    _ = section.append("quant_method", .string(PackedFormat.name))
    for member in format.members { _ = section.append(member.key, .string(member.value)) }
    _ = configuration.append("quantization_config", .object(section))
    let file = try OutputFile(path: "\(partial)/config.json")
    try file.write(Array(JSON.object(configuration).description.utf8) + [UInt8(ascii: "\n")])
    try file.synchronize()
  }

  private func note(_ tensor: StoredTensor) {
    contents += Array("\(tensor.weight) \(tensor.type.rawValue)".utf8)
    var digests = [ContentDigest.of(tensor.bytes)]
    if let scales = tensor.scales {
      digests.append(scales.values.withUnsafeBytes { ContentDigest.of($0) })
    }
    if let codes = tensor.codes {
      for bytes in [codes.scales.bytes, codes.zeros?.bytes, codes.columnGroups?.bytes] {
        if let bytes { digests.append(ContentDigest.of(bytes)) }
      }
    }
    for digest in digests { contents += Array(ContentDigest.text(digest).utf8) }
  }
}

extension PackedTensor {
  fileprivate var name: String {
    if case .panels(let layout) = form {
      weight.name + PackedFormat.suffix(of: layout)
    } else {
      weight.name
    }
  }

  fileprivate func entry(at offset: Int) -> JSON {
    let (type, shape): (SafetensorsType, [Int]) =
      switch form {
      case .panels: (.u8, [byteCount])
      case .elements(let type): (SafetensorsType(rawValue: type.rawValue) ?? .u8, weight.shape)
      }
    return [
      "dtype": .string(type.rawValue), "shape": .array(shape.map { .integer($0) }),
      "data_offsets": [.integer(offset), .integer(offset + byteCount)],
    ]
  }
}
