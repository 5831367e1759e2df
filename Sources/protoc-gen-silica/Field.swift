// SPDX-License-Identifier: Apache-2.0

import Wire

/// A field as the generator sees it: how Swift stores it and which codec carries it.
struct Field {
  /// How a field can be present, which decides its Swift shape.
  enum Presence {
    /// Always there.
    case implicit
    /// `optional`, or a message.
    case optional
    /// A message that can contain its own container.
    case indirect
    case repeated
    case packed
    case map
    /// A member of the oneof with this index.
    case oneof(Int, indirect: Bool)
  }

  let number: Int32
  let protoName: String
  let name: String
  let presence: Presence
  /// The codec's type: "WireUInt32", "WireMap<WireString, WireBytes>".
  let codec: String
  /// The type of the property; of one element for repeated fields.
  let swiftType: String
  let defaultValue: String
  /// The tag that is written.
  let tag: UInt32
  /// The index among the message's fields, for comments.
  let index: Int32
  /// The tag of the other encoding of repeated numbers.
  let alternativeTag: UInt32?

  var tagSize: Int { varintSize(UInt64(tag)) }
  var escapedName: String { SwiftName.escaped(name) }
  /// Inside the coding functions, where a local variable may have the same name.
  var selfName: String {
    ["reader", "size", "tag", "value", "writer"].contains(name) ? "self.\(name)" : escapedName
  }
  /// Where an optional value is stored.
  var storage: String { "_\(name)" }

  init(
    _ field: Google_Protobuf_FieldDescriptorProto, index: Int, of message: String, schema: Schema
  ) throws(Refusal) {
    let kind = try FieldKind(field, schema: schema)
    let entry = schema.messages[field.typeName].flatMap { $0.options.mapEntry ? $0 : nil }
    number = field.number
    protoName = field.name
    name = SwiftName.field(field.name)
    self.index = Int32(index)
    if let entry {
      let (key, value) = try FieldKind.ofMap(entry, schema: schema)
      codec = "WireMap<\(key.codec), \(value.codec)>"
      swiftType = "[\(key.swiftType): \(value.swiftType)]"
      defaultValue = "[:]"
    } else {
      codec = kind.codec
      swiftType = kind.swiftType
      defaultValue = kind.defaultValue
    }
    let recursive = schema.contains(message, in: field)
    if entry != nil {
      presence = .map
    } else if field.label == .repeated {
      presence = kind.isPackable && field.options.packed_ ? .packed : .repeated
    } else if field.hasOneofIndex, !field.proto3Optional {
      presence = .oneof(Int(field.oneofIndex), indirect: recursive)
    } else if recursive {
      presence = .indirect
    } else {
      presence = field.proto3Optional || field.type == .message ? .optional : .implicit
    }
    let single = UInt32(field.number) << 3 | kind.wireType
    let packed = UInt32(field.number) << 3 | 2
    if case .packed = presence {
      (tag, alternativeTag) = (packed, single)
    } else if case .repeated = presence, kind.isPackable {
      (tag, alternativeTag) = (single, packed)
    } else {
      (tag, alternativeTag) = (single, nil)
    }
  }
}

extension Google_Protobuf_FieldOptions {
  /// proto3 packs what can be packed unless it is told not to.
  var packed_: Bool { hasPacked ? packed : true }
}
