// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Foundation
import TestSupport
import Testing

/// What NVIDIA's driver refuses to launch, by the size of what is launched; the emulated one must
/// too.
@Suite struct DriverLimitTests {
  private typealias Launch = EmulatedDriver.Launch

  /// A GPU of the emulated driver; with 0 of compute capability 9.0, with 1 of 8.0.
  private struct Emulated {
    let driver: EmulatedDriver
    let stream, module: EmulatedDriver.Word

    init(_ device: UInt = 0) throws {
      driver = try EmulatedDriver()
      _ = try driver.context(of: device)
      stream = try driver.stream()
      module = try driver.module()
    }

    func launch(_ kernel: String, _ launch: Launch = Launch()) throws -> Int32 {
      driver.launch(try driver.function(kernel, of: module), in: stream, launch)
    }

    func occupancy(_ kernel: String, threads: UInt, shared: UInt = 0) throws -> UInt {
      let function = try driver.function(kernel, of: module)
      driver("cuFuncSetAttribute", function, 8, shared)
      return try driver.made(
        "cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, shared) & 0xFFFF_FFFF
    }
  }

  /// `narrow` declares no shared memory, and is made for 256 threads.
  @Test func `a grid and a block have their limits`() throws {
    let gpu = try Emulated()
    let cases: [(Launch, Int32)] = [
      (Launch(x: 0x7FFF_FFFF), 0), (Launch(x: 0x8000_0000), 1), (Launch(x: 0), 1),
      (Launch(y: 65_535), 0), (Launch(y: 65_536), 1), (Launch(y: 0), 1),
      (Launch(z: 65_535), 0), (Launch(z: 65_536), 1), (Launch(z: 0), 1),
      (Launch(threads: 32), 0), (Launch(threads: 0), 1), (Launch(threads: 33), 1),
      (Launch(threads: 288), 1), (Launch(threads: 1_056), 1),
      (Launch(shared: 48 << 10), 0), (Launch(shared: 48 << 10 + 1), 1),
      (Launch(attributes: [6]), 0), (Launch(attributes: [2]), 1), (Launch(attributes: [3]), 1),
    ]
    for (launch, code) in cases {
      #expect(try gpu.launch("narrow", launch) == code, "\(launch)")
    }
  }

  /// `choose_1024` declares 45,120 bytes, which count.
  @Test(arguments: [(0, 232_448), (1, 166_912)] as [(UInt, UInt)])
  func `shared memory is what was asked for, and no more than a GPU has`(
    device: UInt, most: UInt
  ) throws {
    let gpu = try Emulated(device)
    let attribute = try gpu.driver.made("cuDeviceGetAttribute", 97, device)
    #expect(attribute == most)
    for (kernel, declared) in [("narrow", 0), ("choose_1024", 45_120)] as [(String, UInt)] {
      let function = try gpu.driver.function(kernel, of: gpu.module)
      func launch(_ bytes: UInt) -> Int32 {
        gpu.driver.launch(function, in: gpu.stream, Launch(shared: UInt32(bytes)))
      }
      func ask(_ bytes: UInt) -> Int32 { gpu.driver("cuFuncSetAttribute", function, 8, bytes) }
      let byDefault = 48 << 10 - declared
      #expect(launch(byDefault) == 0, "\(kernel)")
      #expect(launch(byDefault + 1) == 1, "\(kernel)")
      #expect(ask(most - declared + 1) == 1, "\(kernel)")
      #expect(launch(byDefault + 1) == 1, "\(kernel)")
      #expect(ask(most - declared) == 0, "\(kernel)")
      #expect(launch(most - declared) == 0, "\(kernel)")
      #expect(launch(most - declared + 1) == 1, "\(kernel)")
    }
  }

  /// However little: with what the kernel declares it may be more than is given unasked.
  @Test func `a kernel is given the shared memory that it is launched with`() throws {
    let gpu = try GPU(CUDADriver(path: EmulatedGPU.driverPath), index: 0)
    let image = try Data(contentsOf: URL(filePath: EmulatedGPU.kernelPath))
    let module = try image.withUnsafeBytes { try gpu.load($0, from: EmulatedGPU.kernelPath) }
    for bytes in [4_032, 4_033, 20 << 10, 100 << 10] {
      let kernel = try gpu.kernel("choose_1024", of: module, threads: 256, sharedBytes: bytes)
      // What is captured is never run.
      _ = try gpu.capture { () throws(CUDAError) in
        try gpu.launch(kernel, x: 1, with: SIMD16<UInt64>())
      }
    }
  }

  /// Those for products of `wgmma` are empty for 8.0: a GPU would run them and do nothing.
  @Test func `a kernel is of the GPUs that it is compiled for`() throws {
    for (kernel, threads) in [("prefill_bf16", 384), ("product_fp8a8_few", 256)]
      as [(String, UInt32)]
    {
      #expect(try Emulated(0).launch(kernel, Launch(threads: threads)) == 0)
      #expect(try Emulated(1).launch(kernel, Launch(threads: threads)) == 1)
    }
    // Nothing begins early before 9.0.
    #expect(try Emulated(1).launch("narrow") == 0)
    #expect(try Emulated(1).launch("narrow", Launch(attributes: [6])) == 801)
  }

  /// By registers, by threads, by shared memory and by the registers of a whole step.
  @Test func `as many blocks run together as registers and memory leave room for`() throws {
    for (device, shared) in [(0, 227), (1, 163)] as [(UInt, UInt)] {
      let gpu = try Emulated(device)
      #expect(try gpu.occupancy("narrow", threads: 256) == 8)
      #expect(try gpu.occupancy("narrow", threads: 32) == 32)
      #expect(try gpu.occupancy("attend_window_512", threads: 256) == 1)
      #expect(try gpu.occupancy("attend_window_512", threads: 128) == 2)
      #expect(try gpu.occupancy("narrow", threads: 256, shared: shared << 10) == 1)
      #expect(try gpu.occupancy("narrow", threads: 256, shared: ((shared - 1) / 2) << 10) == 2)
      #expect(try gpu.occupancy("narrow", threads: 256, shared: ((shared + 1) / 2) << 10) == 1)
      // An emulated GPU has two multiprocessors.
      let step = "step_bf16_128"
      let together = UInt32(2 * (try gpu.occupancy(step, threads: 256)))
      #expect(together == 2)
      #expect(try gpu.launch(step, Launch(x: together, attributes: [2])) == 0)
      #expect(try gpu.launch(step, Launch(x: together + 1, attributes: [2])) == 720)
      #expect(try gpu.launch(step, Launch(x: 1)) == 1)
    }
  }
}
