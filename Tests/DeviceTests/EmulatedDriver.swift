// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

/// The emulated driver by its functions, from a copy of the library: what is made in it, and a
/// fault above all, is not that of other tests. Ends with the process.
struct EmulatedDriver {
  /// A handle or an address, as a number.
  typealias Word = UInt

  private let library: Word

  init() throws {
    let opened = try Self.withCopy { dlopen($0, RTLD_NOW | RTLD_LOCAL) }
    library = Word(bitPattern: opened)
    try #require(library != 0 && self("cuInit", 0) == 0)
  }

  /// Calls `body` with the path of a copy, to be opened by then.
  static func withCopy<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = try TemporaryDirectory()
    let path = folder.path("libCUDAEmulator.so")
    try FileManager.default.copyItem(atPath: EmulatedGPU.driverPath, toPath: path)
    return try withExtendedLifetime(folder) { try body(path) }
  }

  /// Arguments are integers and pointers, six at most, which all go in registers; a function takes
  /// as many as it has.
  private typealias Function = @convention(c) (Word, Word, Word, Word, Word, Word) -> Int32

  /// Calls a function by its name; gives its code.
  @discardableResult
  func callAsFunction(_ name: String, _ arguments: Word...) -> Int32 {
    guard let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: library), name) else { return -1 }
    let all = arguments + [Word](repeating: 0, count: 6 - arguments.count)
    let function = unsafeBitCast(symbol, to: Function.self)
    return function(all[0], all[1], all[2], all[3], all[4], all[5])
  }

  /// What a function puts where its first argument says.
  func made(_ name: String, _ arguments: Word...) throws -> Word {
    var made: Word = 0
    let code = withUnsafeMutablePointer(to: &made) { place in
      let all = [Word(bitPattern: place)] + arguments + [Word](repeating: 0, count: 5)
      return self(name, all[0], all[1], all[2], all[3], all[4], all[5])
    }
    try #require(code == 0, "\(name): \(code)")
    return made
  }

  /// A context of a GPU that the calling thread then uses.
  func context(of device: Word = 0) throws -> Word {
    let context = try made("cuDevicePrimaryCtxRetain", device)
    try #require(self("cuCtxSetCurrent", context) == 0)
    return context
  }

  func stream() throws -> Word { try made("cuStreamCreate", 1) }

  func module() throws -> Word {
    let image = Array("silica: kernels of the emulated GPU\n".utf8) + [0]
    return try image.withUnsafeBytes {
      try made("cuModuleLoadData", Word(bitPattern: $0.baseAddress))
    }
  }

  func function(_ name: String, of module: Word) throws -> Word {
    try name.withCString { try made("cuModuleGetFunction", module, Word(bitPattern: $0)) }
  }

  /// A launch, with what is usual where nothing is said.
  struct Launch {
    var x: UInt32 = 1
    var y: UInt32 = 1
    var z: UInt32 = 1
    var threads: UInt32 = 256
    var shared: UInt32 = 0
    /// By the driver's numbers, each with the value 1.
    var attributes: [UInt32] = []
    /// Words of the kernel's argument; what is not given is zero.
    var argument: [UInt64] = []
  }

  func launch(_ function: Word, in stream: Word, _ launch: Launch = Launch()) -> Int32 {
    var attributes = [UInt32](repeating: 0, count: 18 * max(1, launch.attributes.count))
    for (index, attribute) in launch.attributes.enumerated() {
      (attributes[18 * index], attributes[18 * index + 2]) = (attribute, 1)
    }
    var argument = launch.argument + [UInt64](repeating: 0, count: 64)
    return attributes.withUnsafeMutableBytes { attributeBytes in
      argument.withUnsafeMutableBytes { argumentBytes in
        let shape: [UInt32] = [
          launch.x, launch.y, launch.z, launch.threads, 1, 1, launch.shared, 0,
        ]
        var configuration = stride(from: 0, to: shape.count, by: 2).map {
          Word(shape[$0]) | Word(shape[$0 + 1]) << 32
        }
        configuration += [
          stream, Word(bitPattern: attributeBytes.baseAddress), Word(launch.attributes.count),
        ]
        var parameter = Word(bitPattern: argumentBytes.baseAddress)
        return configuration.withUnsafeBytes { bytes in
          withUnsafePointer(to: &parameter) {
            self(
              "cuLaunchKernelEx", Word(bitPattern: bytes.baseAddress), function,
              Word(bitPattern: $0))
          }
        }
      }
    }
  }
}
