// SPDX-License-Identifier: Apache-2.0

/// A tensor of the checkpoint by its name there, with the shape that the model expects of it.
package struct Weight: Hashable, Sendable, CustomStringConvertible {
  package var name: String
  /// Row-major; one or two dimensions.
  package var shape: [Int]

  package init(_ name: String, _ shape: [Int]) {
    self.name = name
    self.shape = shape
  }

  package var rows: Int { shape.count == 1 ? 1 : shape[0] }
  package var columns: Int { shape[shape.count - 1] }
  package var elementCount: Int { shape.reduce(1, *) }
  package var description: String { "\(name) \(shape)" }
}

/// How a weight's elements are stored.
package enum ElementType: String, Hashable, Sendable {
  case float32 = "F32"
  case float16 = "F16"
  case bfloat16 = "BF16"
  /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities; NaN is 0x7f and 0xff.
  case float8e4m3 = "F8_E4M3"
  /// Integer codes with their scales; `StoredTensor.panels` says how they lie.
  case panels
  /// Integer codes of a calibrated checkpoint; `StoredTensor.codes` says where they are.
  case codes

  /// Bytes of one element; of panels and codes, of what they are made of.
  package var size: Int {
    switch self {
    case .float32: 4
    case .float16, .bfloat16: 2
    case .float8e4m3, .panels, .codes: 1
    }
  }
}

/// One scale for each block of a weight; a stored element times its block's scale is its value.
package struct BlockScales: Sendable {
  /// Rows and columns of a block, as 128 × 128. Blocks at the edges may be smaller.
  package var blockRows: Int
  package var blockColumns: Int
  /// Blocks side by side: `ceil(columns / blockColumns)`.
  package var blocksPerRow: Int
  /// `[ceil(rows / blockRows), blocksPerRow]`
  package var values: [Float]
  /// Whether all scales of the model are powers of two, also those of its activations ("ue8m0").
  package var arePowersOfTwo = false

  package init(blockRows: Int, blockColumns: Int, blocksPerRow: Int, values: [Float]) {
    self.blockRows = blockRows
    self.blockColumns = blockColumns
    self.blocksPerRow = blocksPerRow
    self.values = values
  }
}

/// The bytes of a weight as the checkpoint holds them, usually mapped from its file.
///
/// `owner` keeps `bytes` alive. The bytes are little-endian, row-major and at least aligned to
/// their element.
package struct StoredTensor: @unchecked Sendable {  // bytes are immutable for the owner's lifetime
  package let weight: Weight
  package let type: ElementType
  package let bytes: UnsafeRawBufferPointer
  package let scales: BlockScales?
  /// Where each code and scale of `.panels` is.
  package let panels: PanelLayout?
  /// Where each code, scale and zero of `.codes` is.
  package let codes: StoredCodes?
  package let owner: any AnyObject & Sendable

  /// Panels of integer codes; `bytes` are `layout.byteCount`, aligned to `PanelLayout.alignment`.
  package init(
    weight: Weight, panels layout: PanelLayout, bytes: UnsafeRawBufferPointer,
    owner: any AnyObject & Sendable
  ) {
    self.weight = weight
    self.bytes = bytes
    self.owner = owner
    type = .panels
    panels = layout
    scales = nil
    codes = nil
  }

  /// Codes that were calibrated; `bytes` are those of `codes.codes`.
  package init(weight: Weight, codes: StoredCodes, owner: any AnyObject & Sendable) {
    self.weight = weight
    self.codes = codes
    self.owner = owner
    bytes = codes.codes.bytes
    type = .codes
    panels = nil
    scales = nil
  }

  package init(
    weight: Weight, type: ElementType, bytes: UnsafeRawBufferPointer, scales: BlockScales?,
    owner: any AnyObject & Sendable
  ) {
    self.weight = weight
    self.type = type
    self.bytes = bytes
    self.scales = scales
    self.owner = owner
    panels = nil
    codes = nil
  }
}

/// Where a device gets its weights from while it loads. Safe to call from any thread.
package protocol WeightSource: Sendable {
  /// The tensor of that name, checked against the shape asked for.
  func tensor(_ weight: Weight) throws(WeightError) -> StoredTensor

  /// The weight for products: as `tensor`, but the panels where the source has it in both forms (an
  /// embedding that is the output matrix as well).
  func matrix(_ weight: Weight) throws(WeightError) -> StoredTensor
}

extension WeightSource {
  package func matrix(_ weight: Weight) throws(WeightError) -> StoredTensor { try tensor(weight) }
}

/// A weight that is missing, or not as the model needs it.
package struct WeightError: Error, Sendable, CustomStringConvertible {
  package var message: String

  package init(_ message: String) { self.message = message }

  package var description: String { message }
}
