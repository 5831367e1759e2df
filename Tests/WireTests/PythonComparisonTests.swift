// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing
import Wire

/// Round trips of random messages between Silica and Python's protobuf, in both directions.
@Suite struct PythonComparisonTests {
  private static let messagesPerKind = 150

  @Test func `Python's bytes decode and encode to the same bytes`() throws {
    let python = try PythonOracle()
    for kind in Kind.all {
      for seed in 0..<Self.messagesPerKind {
        let bytes = try python.random(kind, seed: seed)
        try #require(kind.parse(bytes) == bytes, "\(kind), seed \(seed): \(hex(bytes))")
      }
    }
  }

  @Test func `the values that Swift sets are the bytes that Python writes for them`() throws {
    let python = try PythonOracle()
    for seed in 0..<UInt64(Self.messagesPerKind) {
      let filler = Filler(seed: seed)
      try expectSame(filler.scalars(), python)
      try expectSame(filler.optionals(), python)
      try expectSame(filler.repeateds(), python)
      try expectSame(filler.unpackeds(), python)
      try expectSame(filler.maps(), python)
      try expectSame(filler.oneofs(), python)
      try expectSame(filler.tree(), python)
    }
  }

  private func expectSame<M: Message>(
    _ made: Filler.Spelled<M>, _ python: PythonOracle
  ) throws {
    let kind = Kind(M.self)
    let text = String(made.text.dropFirst().dropLast())
    let expected = try python.encode(kind, text: text)
    try #require(made.value.encoded() == expected, "\(kind): \(text)")
    try #require(try M(decoding: expected) == made.value, "\(kind): \(text)")
  }

  @Test func `a NaN keeps its bits`() throws {
    let python = try PythonOracle()
    let kind = Kind(Silica_Test_Scalars.self)
    let message = Silica_Test_Scalars.with {
      $0.double = Double(nan: 0x1234, signaling: true)
      $0.float = -Float.nan
    }
    #expect(try python.parse(kind, message.encoded()) == message.encoded())
    let read = try Silica_Test_Scalars(decoding: message.encoded())
    #expect(read.double.bitPattern == message.double.bitPattern)
    #expect(read.float.bitPattern == message.float.bitPattern)
  }

  @Test func `two messages in a row are merged`() throws {
    let python = try PythonOracle()
    for kind in Kind.all {
      for seed in 0..<50 {
        let bytes = try python.random(kind, seed: seed) + python.random(kind, seed: seed + 1000)
        #expect(try python.difference(kind, bytes) == nil)
      }
    }
  }

  @Test func `fields of another message are skipped, or read packed as unpacked`() throws {
    let python = try PythonOracle()
    for kind in Kind.all {
      for other in Kind.all {
        for seed in 0..<20 {
          let bytes = try python.random(other, seed: seed)
          #expect(try python.difference(kind, bytes) == nil)
        }
      }
    }
  }

  @Test func `unpacked and packed numbers are the same field`() throws {
    let python = try PythonOracle()
    let filler = Filler(seed: 1)
    for _ in 0..<50 {
      let unpacked = filler.unpackeds().value
      let read = try Silica_Test_Repeateds(decoding: unpacked.encoded())
      #expect(read.double == unpacked.double && read.int32 == unpacked.int32)
      #expect(read.sint64 == unpacked.sint64 && read.fixed32 == unpacked.fixed32)
      #expect(read.bool == unpacked.bool && read.color == unpacked.color)
      #expect(try Silica_Test_Unpackeds(decoding: read.encoded()) == unpacked)
      #expect(try python.difference(Kind(Silica_Test_Repeateds.self), unpacked.encoded()) == nil)
    }
  }

  @Test func `messages and groups may be nested as deep as Python allows`() throws {
    let python = try PythonOracle()
    let tree = Kind(Silica_Test_Tree.self)
    for depth in 95...105 {
      for field: UInt8 in [2, 4, 6] {
        var bytes: [UInt8] = []
        for _ in 0..<depth { bytes = [field << 3 | 2] + varint(UInt64(bytes.count)) + bytes }
        #expect(try python.difference(tree, bytes) == nil, "field \(field), depth \(depth)")
      }
      let group = Array(repeating: UInt8(0x7B), count: depth)
      let groups = group + Array(repeating: UInt8(0x7C), count: depth)
      #expect(try python.difference(tree, groups) == nil, "groups, depth \(depth)")
      var maps: [UInt8] = []
      for level in 0..<depth {
        maps = (level % 2 == 0 ? [0x12] : [0x92, 0x01]) + varint(UInt64(maps.count)) + maps
      }
      let kind = Kind(Silica_Test_Maps.self)
      #expect(try python.difference(kind, maps) == nil, "maps, depth \(depth)")
    }
  }
}

func varint(_ value: UInt64) -> [UInt8] {
  var bytes: [UInt8] = []
  var rest = value
  while rest >= 0x80 {
    bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
    rest >>= 7
  }
  return bytes + [UInt8(rest)]
}
