// SPDX-License-Identifier: Apache-2.0

/// A serialised FileDescriptorProto without its source_code_info, field 9: comments and positions,
/// which are most of its bytes and which reflection does not need.
func withoutSourceInfo(_ file: [UInt8]) -> [UInt8] {
  var kept: [UInt8] = []
  var position = 0
  while position < file.count {
    let start = position
    let tag = varint(file, &position)
    // FileDescriptorProto has length-delimited fields and varints (public_dependency, edition).
    let value = varint(file, &position)
    if tag & 7 == 2 { position += value }
    if tag >> 3 != 9 { kept += file[start..<position] }
  }
  return kept
}

/// The file was decoded before, so that its varints are known to be whole.
private func varint(_ bytes: [UInt8], _ position: inout Int) -> Int {
  var value = 0
  var shift = 0
  while true {
    let byte = Int(bytes[position])
    position += 1
    value |= (byte & 0x7F) << shift
    shift += 7
    if byte < 0x80 { return value }
  }
}
