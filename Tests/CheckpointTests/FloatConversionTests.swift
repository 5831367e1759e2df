// SPDX-License-Identifier: Apache-2.0

import Checkpoint
import Program
import TestSupport
import Testing

/// Every bit pattern of every narrow type against the definition of the format, and against other
/// people's conversions.
@Suite struct FloatConversionTests {
  /// The value of a pattern by the definition of binary floating-point formats.
  private static func value(
    _ bits: Int, exponentBits: Int, mantissaBits: Int, hasInfinity: Bool = true
  ) -> Double {
    let bias = (1 << (exponentBits - 1)) - 1
    let sign = bits >> (exponentBits + mantissaBits) == 0 ? 1.0 : -1.0
    let exponent = bits >> mantissaBits & ((1 << exponentBits) - 1)
    let mantissa = bits & ((1 << mantissaBits) - 1)
    let fraction = Double(mantissa) / Double(1 << mantissaBits)
    let allOnes = exponent == (1 << exponentBits) - 1
    if allOnes && hasInfinity { return mantissa == 0 ? sign * .infinity : .nan }
    if allOnes && mantissa == (1 << mantissaBits) - 1 { return .nan }
    let power = Double(sign: .plus, exponent: max(exponent, 1) - bias, significand: 1)
    return sign * (exponent == 0 ? fraction : 1 + fraction) * power
  }

  private static func areSame(_ left: Float, _ right: Double) -> Bool {
    left.isNaN ? right.isNaN : Double(left) == right && left.sign == right.sign
  }

  @Test func `every half is exact`() {
    let wrong = (0..<65_536).filter { bits in
      let value = Float(float16Bits: UInt16(bits))
      let native = Float(Float16(bitPattern: UInt16(bits)))
      return !Self.areSame(value, Self.value(bits, exponentBits: 5, mantissaBits: 10))
        || !Self.areSame(value, Double(native))
    }
    #expect(wrong == [])
  }

  @Test func `every bfloat16 is exact`() {
    let wrong = (0..<65_536).filter { bits in
      let expected = Self.value(bits, exponentBits: 8, mantissaBits: 7)
      return !Self.areSame(Float(bfloat16Bits: UInt16(bits)), expected)
    }
    #expect(wrong == [])
  }

  @Test func `every FP8 number is exact`() {
    let wrong = (0..<256).filter { bits in
      let expected = Self.value(bits, exponentBits: 4, mantissaBits: 3, hasInfinity: false)
      return !Self.areSame(Float(float8e4m3Bits: UInt8(bits)), expected)
    }
    #expect(wrong == [])
    #expect(Float(float8e4m3Bits: 0x7E) == 448 && Float(float8e4m3Bits: 0x01) == 0x1p-9)
  }

  @Test func `FP8 weights have torch's values, ragged blocks too`() throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/CheckpointTests/Goldens/float8"))
    let shapes = ["whole": [64, 128], "ragged": [80, 150], "wide": [32, 65], "small": [5, 7]]
    for (name, shape) in shapes {
      let stored = try checkpoint.tensor(Weight("\(name).weight", shape))
      #expect(stored.type == .float8e4m3 && stored.scales?.blockRows == 32)
      let expected = try checkpoint.tensor(Weight("\(name).expected", shape)).dequantized()
      #expect(stored.dequantized() == expected, "\(name)")
    }
    let codes = try checkpoint.tensor(Weight("codes", [16, 16])).dequantized()
    let expected = try checkpoint.tensor(Weight("codes.expected", [16, 16])).dequantized()
    #expect(zip(codes, expected).allSatisfy { $0 == $1 || $0.isNaN && $1.isNaN })
    #expect(codes.filter(\.isNaN).count == 2)
  }

  @Test func `a range of rows is the same rows of the whole`() throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/CheckpointTests/Goldens/float8"))
    for name in ["ragged.weight", "ragged.expected"] {
      let stored = try checkpoint.tensor(Weight(name, [80, 150]))
      let whole = stored.dequantized()
      for rows in [0..<1, 31..<33, 63..<80, 40..<40, 79..<80] {
        var part = [Float](repeating: .nan, count: rows.count * 150 + 1)
        part.withUnsafeMutableBufferPointer { buffer in
          if let start = buffer.baseAddress { stored.dequantize(rows: rows, into: start) }
        }
        #expect(part.last?.isNaN == true, "wrote behind the rows")
        #expect(
          Array(part.dropLast()) == Array(whole[rows.lowerBound * 150..<rows.upperBound * 150]))
      }
    }
  }

  @Test func `32-bit floats are shared, others are not`() throws {
    let checkpoint = try Checkpoint(
      directory: Repository.path("Tests/CheckpointTests/Goldens/float8"))
    let stored = try checkpoint.tensor(Weight("ragged.expected", [80, 150]))
    let shared = try #require(stored.sharedFloat32)
    #expect(UnsafeRawPointer(shared.baseAddress) == stored.bytes.baseAddress)
    #expect(withExtendedLifetime(stored) { Array(shared) } == stored.dequantized())
    #expect(try checkpoint.tensor(Weight("ragged.weight", [80, 150])).sharedFloat32 == nil)
  }
}
