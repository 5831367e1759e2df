// SPDX-License-Identifier: Apache-2.0

/// The type of a value, apart from how often it is present.
struct FieldKind {
  let codec: String
  let swiftType: String
  let defaultValue: String
  let wireType: UInt32

  var isPackable: Bool { wireType != 2 }

  init(
    _ field: Google_Protobuf_FieldDescriptorProto, schema: Schema
  ) throws(Refusal) {
    switch field.type {
    case .message:
      swiftType = try schema.swiftName(field.typeName)
      (codec, defaultValue, wireType) = ("WireMessage<\(swiftType)>", "\(swiftType)()", 2)
    case .enum:
      swiftType = try schema.swiftName(field.typeName)
      (codec, defaultValue, wireType) = ("WireEnum<\(swiftType)>", "\(swiftType)()", 0)
    default:
      guard let scalar = Self.scalars[field.type] else {
        throw Refusal(message: "field '\(field.name)' has the unknown type \(field.type.rawValue)")
      }
      (codec, swiftType, wireType) = scalar
      defaultValue = Self.defaults[swiftType] ?? "0"
    }
  }

  /// Key and value of a map's synthetic entry.
  static func ofMap(
    _ entry: Google_Protobuf_DescriptorProto, schema: Schema
  ) throws(Refusal) -> (key: FieldKind, value: FieldKind) {
    guard entry.field.count == 2 else {
      throw Refusal(message: "map entry \(entry.name) has \(entry.field.count) fields, not 2")
    }
    return (
      try FieldKind(entry.field[0], schema: schema), try FieldKind(entry.field[1], schema: schema)
    )
  }

  private static let defaults = ["Bool": "false", "String": "\"\"", "[UInt8]": "[]"]

  private static let scalars:
    [Google_Protobuf_FieldDescriptorProto.Type_: (String, String, UInt32)] = [
      .double: ("WireDouble", "Double", 1), .float: ("WireFloat", "Float", 5),
      .int64: ("WireInt64", "Int64", 0), .uint64: ("WireUInt64", "UInt64", 0),
      .int32: ("WireInt32", "Int32", 0), .fixed64: ("WireFixed64", "UInt64", 1),
      .fixed32: ("WireFixed32", "UInt32", 5), .bool: ("WireBool", "Bool", 0),
      .string: ("WireString", "String", 2), .bytes: ("WireBytes", "[UInt8]", 2),
      .uint32: ("WireUInt32", "UInt32", 0), .sfixed32: ("WireSFixed32", "Int32", 5),
      .sfixed64: ("WireSFixed64", "Int64", 1), .sint32: ("WireSInt32", "Int32", 0),
      .sint64: ("WireSInt64", "Int64", 0),
    ]
}
