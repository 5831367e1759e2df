// SPDX-License-Identifier: Apache-2.0

import Support
import Testing
import Wire

/// What a reader refuses, and what it says.
@Suite struct WireReaderTests {
  private func refusal(_ bytes: [UInt8]) -> WireError? {
    refusal(of: Silica_Test_Scalars.self, bytes)
  }

  private func refusal<M: Message>(
    of type: M.Type, _ bytes: [UInt8], limits: WireLimits = WireLimits()
  ) -> WireError? {
    do throws(WireError) {
      _ = try M(decoding: bytes, limits: limits)
      return nil
    } catch {
      return error
    }
  }

  @Test func `an error names the message, the field, the problem and the place`() {
    let text = refusal([0x18, 0x05, 0x72, 0x02, 0xC3, 0x28])
    #expect(text?.message == "silica.test.Scalars.string: the text is not valid UTF-8, at byte 6")
    #expect(text?.code == .invalidArgument)
    let unknown = refusal([0x92, 0x03, 0x05])
    #expect(unknown?.messageName == "silica.test.Scalars" && unknown?.fieldName == "50")
  }

  @Test func `an error names the innermost message and its own field`() {
    // Tree.right (3) is a Branch, whose leaf (2) is a Leaf, whose name (1) is cut off.
    let bytes: [UInt8] = [0x1A, 4, 0x12, 2, 0x0A, 9]
    let inner = refusal(of: Silica_Test_Tree.self, bytes)
    #expect(inner?.messageName == "silica.test.Tree.Leaf" && inner?.fieldName == "name")
    #expect(inner?.problem == .truncated)
    // Behind a whole inner message, an error is the outer one's again.
    let after = refusal(of: Silica_Test_Tree.self, [0x1A, 2, 0x12, 0, 0x08])
    #expect(after?.messageName == "silica.test.Tree" && after?.fieldName == "id")
    // In a map entry, the field is the map.
    let entry = refusal(of: Silica_Test_Maps.self, [0x72, 3, 0x0A, 1, 0xFF])
    #expect(entry?.messageName == "silica.test.Maps" && entry?.fieldName == "string_string")
  }

  @Test func `values that end too early are truncated`() {
    for bytes: [UInt8] in [
      [0x18], [0x18, 0x80], [0x09, 1, 2, 3], [0x15, 1], [0x72], [0x72, 3, 0x61], [0x80],
      [0x92, 0x03, 0x05, 1], [0x7B, 0x08, 1],
    ] {
      #expect(refusal(bytes)?.problem == .truncated, "\(hex(bytes))")
    }
  }

  @Test func `a message cut short anywhere is refused, or shorter`() throws {
    let whole = Filler(seed: 4).optionals().value.encoded()
    for count in whole.indices {
      let start = Array(whole[..<count])
      if let shorter = try? Silica_Test_Optionals(decoding: start) {
        #expect(shorter.encodedSize <= count)
      }
    }
  }

  @Test func `varints have at most 10 bytes, and 5 in a tag`() {
    let full = [UInt8](repeating: 0xFF, count: 9)
    #expect(refusal([0x20] + full + [0x01]) == nil)
    #expect(refusal([0x20] + full + [0x81, 0x00])?.problem == .varintTooLong)
    #expect(refusal([0x98, 0x80, 0x80, 0x80, 0x00, 0x05]) == nil)
    #expect(refusal([0x98, 0x80, 0x80, 0x80, 0x80, 0x00, 0x05])?.problem == .varintTooLong)
    #expect(refusal([0x98, 0x80, 0x80, 0x80, 0x10, 0x05])?.problem == .varintTooLong)
  }

  @Test func `a length over 2 GiB is refused by itself`() {
    let tooLarge = refusal([0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F])
    #expect(tooLarge?.problem == .lengthTooLarge)
    #expect(refusal([0x72, 0xFF, 0xFF, 0xFF, 0xFF, 0x07])?.problem == .truncated)
  }

  @Test func `field number 0, lost group ends and wire types 6 and 7 are refused`() {
    #expect(refusal([0x00, 0x00])?.problem == .fieldNumberZero)
    #expect(refusal([0x02, 0x00])?.problem == .fieldNumberZero)
    #expect(refusal([0x0C])?.problem == .groupEnd)
    #expect(refusal([0x7B, 0x84, 0x01])?.problem == .groupEnd)
    #expect(refusal([0x7B, 0x7C]) == nil)
    #expect(refusal([0x0E, 0x00])?.problem == .unknownWireType)
    #expect(refusal([0x0F, 0x00])?.problem == .unknownWireType)
  }

  @Test func `a known field of another wire type is skipped`() throws {
    // Scalars.int32 as 4 fixed bytes, then as a varint.
    let read = try Silica_Test_Scalars(decoding: [0x1D, 1, 2, 3, 4, 0x18, 7])
    #expect(read == .with { $0.int32 = 7 })
  }

  @Test func `a packed field holds whole elements`() {
    let type = Silica_Test_Repeateds.self
    #expect(refusal(of: type, [0x0A, 7, 0, 0, 0, 0, 0, 0, 0])?.problem == .packedLength)
    #expect(refusal(of: type, [0x1A, 2, 0x01, 0x80, 0x00])?.problem == .truncated)
    #expect(refusal(of: type, [0x1A, 2, 0x80, 0x00, 0x18, 0x05]) == nil)
  }

  @Test func `texts must be UTF-8 in the strict sense`() {
    for text: [UInt8] in [
      [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
    ] {
      let bytes = [0x72, UInt8(text.count)] + text
      #expect(refusal(bytes)?.problem == .invalidUTF8, "\(hex(text))")
    }
    #expect(refusal([0x72, 4, 0xF0, 0x9F, 0x98, 0x80]) == nil)
  }

  @Test func `the limits are the caller's`() {
    let limits = WireLimits(byteCountMax: 4, depthMax: 2)
    let type = Silica_Test_Tree.self
    #expect(refusal(of: type, [0x12, 2, 0x12, 0], limits: limits) == nil)
    let deep = WireLimits(depthMax: 2)
    let tooDeep = refusal(of: type, [0x12, 4, 0x12, 2, 0x12, 0], limits: deep)
    #expect(tooDeep?.problem == .depthLimit(2) && tooDeep?.code == .resourceExhausted)
    let tooLarge = refusal(of: type, [0x08, 1, 0x08, 1, 0x08], limits: limits)
    #expect(tooLarge?.problem == .sizeLimit(bytes: 5, limit: 4))
    #expect(tooLarge?.message == "silica.test.Tree: 5 bytes are over the limit of 4, at byte 0")
  }
}
