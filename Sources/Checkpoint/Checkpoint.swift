// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

/// A model as Hugging Face stores it: a folder with `config.json` and safetensors.
///
/// Opening reads configuration and headers only; weights are mapped from their files and read when
/// a device touches them. Safe to use from any thread.
package final class Checkpoint: WeightSource, Sendable {
  struct Location: Sendable {
    let tensor: Safetensors.Tensor
    let file: MappedFile
  }

  package let directory: String
  package let configuration: ModelConfiguration
  package let generationDefaults: GenerationDefaults
  /// Bytes of all tensors of the checkpoint.
  package let byteCount: Int
  private let locations: [String: Location]
  /// Panels of calibrated codes, by the weight's name.
  private let calibratedPanels: [String: (name: String, bits: Int, group: Int)]

  /// A tensor as its file has it: aligned to its element, and in the background on its way from
  /// the disk.
  struct Part {
    let name: String
    let type: SafetensorsType
    let shape: [Int]
    let bytes: UnsafeRawBufferPointer
    /// The path of its file.
    let file: String
    /// Keeps `bytes`.
    let owner: any AnyObject & Sendable

    func wrongShape(expected shapes: [[Int]]) -> WeightError {
      let names = shapes.map { "\($0)" }.joined(separator: " or ")
      return WeightError("\(file): tensor \(name) has shape \(shape), expected \(names)")
    }
  }

  /// Opens a folder and checks what its files say of themselves and of each other.
  package init(directory: String) throws(CheckpointError) {
    guard MappedFile.exists(directory) else {
      throw CheckpointError(
        "\(directory) does not exist, expected a model's folder", code: .notFound)
    }
    guard MappedFile.isDirectory(directory) else {
      throw CheckpointError("\(directory) is a file, expected a model's folder")
    }
    self.directory = directory
    let configuration = try ModelConfiguration(
      ConfigurationFields(contentsOf: "\(directory)/config.json"))
    self.configuration = configuration
    let generationFile = "\(directory)/generation_config.json"
    generationDefaults =
      MappedFile.exists(generationFile)
      ? try GenerationDefaults(ConfigurationFields(contentsOf: generationFile))
      : GenerationDefaults()
    locations = try ShardIndex(directory: directory).locations {
      (file, metadata) throws(CheckpointError) in
      try Self.checkFormat(configuration, file: file, metadata)
    }
    var panels: [String: (name: String, bits: Int, group: Int)] = [:]
    if case .packed(let format) = configuration.quantization, format.bits == nil {
      for name in locations.keys {
        guard let (weight, bits, group) = PackedFormat.calibratedPanels(name) else { continue }
        panels[weight] = (name, bits, group)
      }
    }
    calibratedPanels = panels
    byteCount = locations.values.reduce(0) { $0 + $1.tensor.range.count }
  }

  /// Throws where only one of `config.json` and a file of weights says that it is packed, or where
  /// they differ in what was packed.
  private static func checkFormat(
    _ configuration: ModelConfiguration, file: String, _ metadata: [String: String]
  ) throws(CheckpointError) {
    if case .packed(let format) = configuration.quantization {
      try format.check(metadata, file: file)
    } else if metadata["format"] == PackedFormat.name {
      throw CheckpointError(
        "\(file) was packed by silica, but config.json has no quantization_config of its: they do "
          + "not belong to each other; quantize the checkpoint again")
    }
  }

  /// How it was packed; nil for a checkpoint as others store it.
  package var packedFormat: PackedFormat? {
    guard case .packed(let format) = configuration.quantization else { return nil }
    return format
  }

  /// Whether it holds codes of a program that calibrates weights, not packed.
  package var isCalibrated: Bool {
    guard case .calibrated = configuration.quantization else { return false }
    return true
  }

  /// What tells the checkpoint from others and from itself before a change: the folder's name, and
  /// a digest of the names, sizes and times of the files that hold its tensors.
  package var identity: String {
    let files = Dictionary(
      locations.values.map { ($0.file.path, $0.file) }, uniquingKeysWith: { file, _ in file })
    let text = files.sorted { $0.key < $1.key }.map { path, file in
      "\(path.dropFirst(directory.count)) \(file.bytes.count) \(file.modifiedNanoseconds)"
    }.joined(separator: "\n")
    let digest = Array(text.utf8).withUnsafeBytes { ContentDigest.of($0) }
    return "\(directory.split(separator: "/").last ?? "/") \(ContentDigest.text(digest))"
  }

  /// Ids that end a generation: of `generation_config.json`, or else of `config.json`.
  package var endTokenIDs: [Int] {
    generationDefaults.endTokenIDs.isEmpty
      ? configuration.endTokenIDs : generationDefaults.endTokenIDs
  }

  /// Whether the checkpoint holds a tensor of that name, or a weight of that name in codes.
  package func contains(_ name: String) -> Bool {
    if holds(name) { return true }
    switch configuration.quantization {
    case .packed: return holds(name + PackedFormat.suffix) || calibratedPanels[name] != nil
    case .calibrated(let format):
      return CalibratedTensor.codesName(name, format).map(holds) ?? false
    case .float8, nil: return false
    }
  }

  /// Whether there is a tensor of that very name.
  func holds(_ name: String) -> Bool { locations[name] != nil }

  /// Nil where there is no tensor of that very name.
  func type(of name: String) -> SafetensorsType? { locations[name]?.tensor.type }

  /// The tensor as it lies in its file, without copying it; with its block scales if it is FP8, and
  /// with all that belongs to it if it is stored in codes.
  ///
  /// Only a tensor that the file does not align to its element is copied (files of old writers).
  /// Starts reading the tensor from disk in the background.
  package func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor {
    if !holds(weight.name), let panels = try panels(weight) { return panels }
    if case .calibrated(let format) = configuration.quantization,
      var calibrated = CalibratedTensor(weight, format, in: self),
      let codes = try calibrated.tensor()
    {
      return codes
    }
    let part = try part(weight.name)
    guard part.shape == weight.shape else { throw part.wrongShape(expected: [weight.shape]) }
    guard let type = part.type.elementType else {
      throw WeightError(
        "\(part.file): tensor \(weight.name) has dtype \(part.type.rawValue), "
          + "expected F32, F16, BF16 or F8_E4M3")
    }
    let scales = type == .float8e4m3 ? try blockScales(of: weight, file: part.file) : nil
    return StoredTensor(
      weight: weight, type: type, bytes: part.bytes, scales: scales, owner: part.owner)
  }

  /// The tensor of that very name, as `tensor`, whatever its type and shape.
  func part(_ name: String) throws(WeightError) -> Part {
    guard let location = locations[name] else {
      throw WeightError("\(directory): tensor \(name) is missing")
    }
    let (tensor, file) = (location.tensor, location.file)
    file.prefetch(tensor.range)
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range])
    let alignment = max(1, tensor.type.bitCount / 8)
    let isAligned = Int(bitPattern: bytes.baseAddress) % alignment == 0
    let copy = isAligned ? nil : AlignedCopy(of: bytes)
    return Part(
      name: name, type: tensor.type, shape: tensor.shape,
      bytes: copy.map { UnsafeRawBufferPointer($0.bytes) } ?? bytes, file: file.path,
      owner: copy ?? file)
  }

  package func matrix(_ weight: Weight) throws(WeightError) -> StoredTensor {
    if let panels = try panels(weight) { return panels }
    return try tensor(weight)
  }

  /// The weight as it was packed; nil where it was not.
  private func panels(_ weight: Weight) throws(WeightError) -> StoredTensor? {
    guard let format = packedFormat else { return nil }
    let calibrated = calibratedPanels[weight.name]
    guard let location = locations[calibrated?.name ?? weight.name + PackedFormat.suffix],
      let bits = calibrated?.bits ?? format.bits
    else { return nil }
    let (tensor, file) = (location.tensor, location.file)
    let layout = PanelLayout(
      bits: bits, rows: weight.rows, columns: weight.columns,
      factors: calibrated.map { .scalesAndZeros(group: $0.group) } ?? .scales)
    guard weight.shape.count == 2, tensor.type == .u8, tensor.range.count == layout.byteCount else {
      throw WeightError(
        "\(file.path): tensor \(tensor.name) holds \(tensor.shape) of \(tensor.type.rawValue), "
          + "expected \(layout.byteCount) bytes for \(weight)")
    }
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range])
    guard Int(bitPattern: bytes.baseAddress) % PanelLayout.alignment == 0 else {
      throw WeightError(
        "\(file.path): tensor \(tensor.name) begins at byte \(tensor.range.lowerBound), expected a "
          + "multiple of \(PanelLayout.alignment)")
    }
    file.prefetch(tensor.range)
    return StoredTensor(weight: weight, panels: layout, bytes: bytes, owner: file)
  }

  /// `X_scale_inv` of a weight `X` (multiplied with it, in spite of the name).
  private func blockScales(of weight: Weight, file: String) throws(WeightError) -> BlockScales {
    if case .calibrated(let format) = configuration.quantization,
      var calibrated = CalibratedTensor(weight, format, in: self),
      format.method == .compressedTensors
    {
      return try calibrated.float8Scales()
    }
    guard case .float8(let blocks) = configuration.quantization else {
      throw WeightError(
        "\(file): tensor \(weight.name) has dtype F8_E4M3, but config.json has no "
          + "quantization_config of FP8")
    }
    guard weight.shape.count == 2 else {
      throw WeightError("\(file): tensor \(weight.name) has dtype F8_E4M3, expected 2 dimensions")
    }
    let blocksPerColumn = (weight.rows + blocks.rows - 1) / blocks.rows
    let blocksPerRow = (weight.columns + blocks.columns - 1) / blocks.columns
    let scaleWeight = Weight("\(weight.name)_scale_inv", [blocksPerColumn, blocksPerRow])
    guard contains(scaleWeight.name) else {
      throw WeightError("\(file): tensor \(weight.name) has dtype F8_E4M3 and no _scale_inv")
    }
    let stored = try tensor(scaleWeight)
    guard stored.type != .float8e4m3 else {
      throw WeightError("\(directory): tensor \(scaleWeight.name) has dtype F8_E4M3, expected F32")
    }
    var scales = BlockScales(
      blockRows: blocks.rows, blockColumns: blocks.columns, blocksPerRow: blocksPerRow,
      values: stored.dequantized())
    scales.arePowersOfTwo = blocks.scalesArePowersOfTwo
    return scales
  }
}

/// A tensor's bytes in memory of their own, aligned for any element.
private final class AlignedCopy: @unchecked Sendable {  // written in init only
  let bytes: UnsafeMutableRawBufferPointer

  init(of source: UnsafeRawBufferPointer) {
    bytes = .allocate(byteCount: source.count, alignment: 64)
    bytes.copyMemory(from: source)
  }

  deinit { bytes.deallocate() }
}
