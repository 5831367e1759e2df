// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Foundation
import Support
import TestSupport
import Testing

/// Memory of the host that kernels read and write where it lies, on an emulated GPU that is as
/// strict as no GPU is.
@Suite struct CUDAMappedTests {
  /// `cu_narrow`: floats to bfloat16.
  private struct Narrow {
    var source, destination: UInt64
    var count: Int64
  }

  /// `cu_fetch`: a step without arrays.
  private struct Fetch {
    var slot, step: UInt64
    var arrays: UInt64 = 0
    var arrayWords: UInt64 = 0
  }

  private let gpu: GPU
  private let narrow, fetchStep: GPU.Kernel
  private let floats, codes: MappedMemory

  init() throws {
    let gpu = try GPU(CUDADriver(path: EmulatedGPU.driverPath), index: 0)
    self.gpu = gpu
    let image = try Data(contentsOf: URL(filePath: EmulatedGPU.kernelPath))
    let module = try image.withUnsafeBytes { try gpu.load($0, from: EmulatedGPU.kernelPath) }
    narrow = try gpu.kernel("narrow", of: module, threads: 256)
    fetchStep = try gpu.kernel("fetch_step", of: module, threads: 256)
    floats = try gpu.allocateMapped(4 * 4)
    codes = try gpu.allocateMapped(4 * 2)
    for (place, value) in zip(floats.bytes.bindMemory(to: Float.self).indices, [1, -2, 0.5, 3]) {
      floats.bytes.storeBytes(of: Float(value), toByteOffset: 4 * place, as: Float.self)
    }
  }

  private func host(_ memory: MappedMemory) -> UInt64 {
    UInt64(UInt(bitPattern: memory.bytes.baseAddress))
  }

  private var written: [UInt16] { Array(codes.bytes.bindMemory(to: UInt16.self).prefix(4)) }

  @Test func `a kernel reads what the host wrote, and the host what the kernel wrote`() throws {
    #expect(floats.address != host(floats) && codes.address != host(codes))
    let argument = Narrow(source: floats.address, destination: codes.address, count: 4)
    try gpu.launch(narrow, x: 1, with: argument)
    // Not before somebody waits.
    #expect(written == [0, 0, 0, 0])
    try gpu.synchronize()
    #expect(written == [0x3F80, 0xC000, 0x3F00, 0x4040])
  }

  @Test func `a kernel is not given the host's address`() throws {
    for (source, destination) in [
      (host(floats), codes.address), (floats.address, host(codes) + 2),
    ] {
      let argument = Narrow(source: source, destination: destination, count: 3)
      #expect(throws: CUDAError.self) { try gpu.launch(narrow, x: 1, with: argument) }
    }
  }

  /// On this GPU kernels begin before the one in front is done, and read a step before they wait.
  @Test func `no kernel begins early around the one that brings a step`() throws {
    let slot = try gpu.allocateMapped(64)
    let fetch = Fetch(slot: slot.address, step: try gpu.allocate(64))
    #expect(throws: CUDAError.self) { try gpu.launch(fetchStep, x: 1, with: fetch) }
    for _ in 0..<2 {
      try gpu.launchFirst(fetchStep, with: fetch)
      let argument = Narrow(source: floats.address, destination: codes.address, count: 4)
      try gpu.launch(narrow, x: 1, with: argument)
      try gpu.launch(narrow, x: 1, with: argument)
    }
    try gpu.synchronize()
    #expect(written[3] == 0x4040)
  }

  @Test func `a word that no kernel sets is an error, and not waited for for ever`() throws {
    let word = try #require(MappedWord(try gpu.allocateMapped(MappedWord.byteCount)))
    try gpu.wait(for: word, toBe: 0)
    let error = #expect(throws: CUDAError.self) { try gpu.wait(for: word, toBe: 1) }
    #expect(error?.code == .internal)
    #expect(error?.message.contains("no kernel has set the word") == true)
  }
}
