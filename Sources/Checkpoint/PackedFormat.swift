// SPDX-License-Identifier: Apache-2.0

internal import Program
internal import Support

/// What a packed checkpoint says of itself, once in `config.json` (`quantization_config`) and once
/// in its weights' file (`__metadata__`); both must agree.
package struct PackedFormat: Hashable, Sendable {
  /// `quant_method` of `config.json`, `format` of the metadata.
  static let name = "silica"
  /// The only version that is read and written.
  static let version = 1
  /// How panels lie: `PanelLayout`.
  static let layout = "panels-16"
  /// What follows the name of a weight in the name of its panels.
  static let suffix = ".panels"

  /// "w8" or "w4"; or "auto": the codes of a calibrated checkpoint, as they were stored.
  package let precision: String
  /// The digest of the checkpoint that was packed.
  package let source: String

  package init(precision: String, source: String) {
    self.precision = precision
    self.source = source
  }

  /// Precisions that this version has.
  package static let precisions = ["w8", "w4", "auto"]

  /// Bits of every code; nil where they are as they were stored.
  package var bits: Int? { Self.bits(ofPrecision: precision) }

  package static func bits(ofPrecision precision: String) -> Int? {
    ["w8": 8, "w4": 4][precision]
  }

  /// What follows the name of a weight in that of its panels: ".panels", or ".int4-128.panels" with
  /// the bits and the group of codes that were calibrated.
  static func suffix(of layout: PanelLayout) -> String {
    guard case .scalesAndZeros(let group) = layout.factors else { return suffix }
    return ".int\(layout.bits)-\(group)\(suffix)"
  }

  /// The weight's name, and the bits and group of calibrated codes, of the name of their panels;
  /// nil for other names, and for what no product takes.
  static func calibratedPanels(_ name: String) -> (weight: String, bits: Int, group: Int)? {
    guard name.hasSuffix(suffix) else { return nil }
    let stem = name.dropLast(suffix.count)
    guard let dot = stem.lastIndex(of: ".") else { return nil }
    let parts = stem[stem.index(after: dot)...].split(separator: "-")
    guard parts.count == 2, let bits = ["int4": 4, "int8": 8][parts[0]],
      let group = Int(parts[1]), group > 0, group <= ConfigurationFields.integerMax,
      group == 32 || group == 64 || group % 128 == 0
    else { return nil }
    return (String(stem[..<dot]), bits, group)
  }

  /// The members that are checked, in the order in which they are written.
  var members: [(key: String, value: String)] {
    [
      ("version", "\(Self.version)"), ("layout", Self.layout), ("precision", precision),
      ("source", source),
    ]
  }

  /// What `quantization_config` says. Values are strings, as safetensors' metadata has them.
  init(_ fields: ConfigurationFields) throws(CheckpointError) {
    let version = try fields.string("version")
    guard version == "\(Self.version)" else {
      throw fields.invalid(
        "version", expected: "\"\(Self.version)\": quantize the checkpoint again with this silica",
        code: .unimplemented)
    }
    guard try fields.string("layout") == Self.layout else {
      throw fields.invalid("layout", expected: "\"\(Self.layout)\"", code: .unimplemented)
    }
    let precision = try fields.string("precision")
    guard Self.precisions.contains(precision) else {
      throw fields.invalid(
        "precision", expected: "\"w8\", \"w4\" or \"auto\"", code: .unimplemented)
    }
    self.init(precision: precision, source: try fields.string("source"))
  }

  /// Throws unless a file of weights says the same of itself as `config.json`.
  func check(_ metadata: [String: String], file: String) throws(CheckpointError) {
    guard metadata["format"] == Self.name else {
      throw CheckpointError(
        "\(file) is no packed file of silica, expected one because config.json has quant_method "
          + "\"\(Self.name)\"")
    }
    for (key, value) in members where metadata[key] != value {
      throw CheckpointError(
        "\(file): \(key) is \"\(metadata[key] ?? "")\", but config.json has \"\(value)\": they do "
          + "not belong to each other; quantize the checkpoint again")
    }
  }
}
