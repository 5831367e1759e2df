// SPDX-License-Identifier: Apache-2.0

import Wire

extension Filler {
  func scalars() -> Spelled<Silica_Test_Scalars> {
    var message = Silica_Test_Scalars()
    let text = nested {
      if chance() { set("double", double) { message.double = $0 } }
      if chance() { set("float", float) { message.float = $0 } }
      if chance() { set("int32", integer) { message.int32 = $0 } }
      if chance() { set("int64", integer) { message.int64 = $0 } }
      if chance() { set("uint32", integer) { message.uint32 = $0 } }
      if chance() { set("uint64", integer) { message.uint64 = $0 } }
      if chance() { set("sint32", integer) { message.sint32 = $0 } }
      if chance() { set("sint64", integer) { message.sint64 = $0 } }
      if chance() { set("fixed32", integer) { message.fixed32 = $0 } }
      if chance() { set("fixed64", integer) { message.fixed64 = $0 } }
      if chance() { set("sfixed32", integer) { message.sfixed32 = $0 } }
      if chance() { set("sfixed64", integer) { message.sfixed64 = $0 } }
      if chance() { set("bool", bool) { message.bool = $0 } }
      if chance() { set("string", string) { message.string = $0 } }
      if chance() { set("bytes", bytes) { message.bytes = $0 } }
      if chance() { set("color", color) { message.color = $0 } }
    }
    return (message, text)
  }

  func optionals() -> Spelled<Silica_Test_Optionals> {
    var message = Silica_Test_Optionals()
    let text = nested {
      if chance() { set("double", double) { message.double = $0 } }
      if chance() { set("float", float) { message.float = $0 } }
      if chance() { set("int32", integer) { message.int32 = $0 } }
      if chance() { set("int64", integer) { message.int64 = $0 } }
      if chance() { set("uint32", integer) { message.uint32 = $0 } }
      if chance() { set("uint64", integer) { message.uint64 = $0 } }
      if chance() { set("sint32", integer) { message.sint32 = $0 } }
      if chance() { set("sint64", integer) { message.sint64 = $0 } }
      if chance() { set("fixed32", integer) { message.fixed32 = $0 } }
      if chance() { set("fixed64", integer) { message.fixed64 = $0 } }
      if chance() { set("sfixed32", integer) { message.sfixed32 = $0 } }
      if chance() { set("sfixed64", integer) { message.sfixed64 = $0 } }
      if chance() { set("bool", bool) { message.bool = $0 } }
      if chance() { set("string", string) { message.string = $0 } }
      if chance() { set("bytes", bytes) { message.bytes = $0 } }
      if chance() { set("color", color) { message.color = $0 } }
      if chance() { set("scalars", scalars) { message.scalars = $0 } }
    }
    return (message, text)
  }

  func repeateds() -> Spelled<Silica_Test_Repeateds> {
    var message = Silica_Test_Repeateds()
    let text = nested {
      list(&message.double, "double", double)
      list(&message.float, "float", float)
      list(&message.int32, "int32", integer)
      list(&message.int64, "int64", integer)
      list(&message.uint32, "uint32", integer)
      list(&message.uint64, "uint64", integer)
      list(&message.sint32, "sint32", integer)
      list(&message.sint64, "sint64", integer)
      list(&message.fixed32, "fixed32", integer)
      list(&message.fixed64, "fixed64", integer)
      list(&message.sfixed32, "sfixed32", integer)
      list(&message.sfixed64, "sfixed64", integer)
      list(&message.bool, "bool", bool)
      list(&message.string, "string", string)
      list(&message.bytes, "bytes", bytes)
      list(&message.color, "color", color)
      list(&message.scalars, "scalars", scalars)
    }
    return (message, text)
  }

  func unpackeds() -> Spelled<Silica_Test_Unpackeds> {
    var message = Silica_Test_Unpackeds()
    let text = nested {
      list(&message.double, "double", double)
      list(&message.float, "float", float)
      list(&message.int32, "int32", integer)
      list(&message.sint64, "sint64", integer)
      list(&message.fixed32, "fixed32", integer)
      list(&message.bool, "bool", bool)
      list(&message.color, "color", color)
    }
    return (message, text)
  }

  func maps() -> Spelled<Silica_Test_Maps> {
    var message = Silica_Test_Maps()
    let text = nested {
      map(&message.int32Double, "int32_double", integer, double)
      map(&message.int64Float, "int64_float", integer, float)
      map(&message.uint32Int32, "uint32_int32", integer, integer)
      map(&message.uint64Int64, "uint64_int64", integer, integer)
      map(&message.sint32Uint32, "sint32_uint32", integer, integer)
      map(&message.sint64Uint64, "sint64_uint64", integer, integer)
      map(&message.fixed32Sint32, "fixed32_sint32", integer, integer)
      map(&message.fixed64Sint64, "fixed64_sint64", integer, integer)
      map(&message.sfixed32Fixed32, "sfixed32_fixed32", integer, integer)
      map(&message.sfixed64Fixed64, "sfixed64_fixed64", integer, integer)
      map(&message.boolSfixed32, "bool_sfixed32", bool, integer)
      map(&message.stringSfixed64, "string_sfixed64", string, integer)
      map(&message.stringBool, "string_bool", string, bool)
      map(&message.stringString, "string_string", string, string)
      map(&message.int32Bytes, "int32_bytes", integer, bytes)
      map(&message.int32Color, "int32_color", integer, color)
      map(&message.stringScalars, "string_scalars", string, scalars)
    }
    return (message, text)
  }

  func oneofs() -> Spelled<Silica_Test_Oneofs> {
    var message = Silica_Test_Oneofs()
    let text = nested {
      switch pick(12) {
      case 0: set("double", double) { message.double = $0 }
      case 1: set("float", float) { message.float = $0 }
      case 2: set("int32", integer) { message.int32 = $0 }
      case 3: set("sint64", integer) { message.sint64 = $0 }
      case 4: set("fixed32", integer) { message.fixed32 = $0 }
      case 5: set("bool", bool) { message.bool = $0 }
      case 6: set("string", string) { message.string = $0 }
      case 7: set("bytes", bytes) { message.bytes = $0 }
      case 8: set("color", color) { message.color = $0 }
      case 9: set("scalars", scalars) { message.scalars = $0 }
      case 10: set("optionals", optionals) { message.optionals = $0 }
      default: break
      }
      if chance() { set("between", string) { message.between = $0 } }
      if chance() {
        set("first", integer) { message.first = $0 }
      } else if chance() {
        set("last", string) { message.last = $0 }
      }
    }
    return (message, text)
  }

  func tree(depth: Int = 0) -> Spelled<Silica_Test_Tree> {
    var message = Silica_Test_Tree()
    let text = nested {
      set("id", integer) { message.id = $0 }
      guard depth < 5 else { return }
      let next = { self.tree(depth: depth + 1) }
      if chance() { set("left", next) { message.left = $0 } }
      if chance() { set("right", { self.branch(depth: depth + 1) }) { message.right = $0 } }
      if chance() { list(&message.children, "children", next) }
      if chance() { map(&message.named, "named", string, next) }
      if chance() { set("inner", next) { message.inner = $0 } }
    }
    return (message, text)
  }

  private func branch(depth: Int) -> Spelled<Silica_Test_Tree.Branch> {
    var message = Silica_Test_Tree.Branch()
    let text = nested {
      set("tree", { self.tree(depth: depth + 1) }) { message.tree = $0 }
      if chance() { set("leaf", leaf) { message.leaf = $0 } }
    }
    return (message, text)
  }

  private func leaf() -> Spelled<Silica_Test_Tree.Leaf> {
    let name = string()
    return (.with { $0.name = name.value }, "{ name: \(name.text) }")
  }
}
