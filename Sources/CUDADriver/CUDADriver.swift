// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// NVIDIA's driver, found when the process runs: Silica is not linked with any part of CUDA.
///
/// The library is `libcuda.so.1`, or what `SILICA_CUDA_LIBRARY` names. Safe to use from any thread.
package final class CUDADriver: @unchecked Sendable {  // all immutable after init
  package static let libraryVariable = "SILICA_CUDA_LIBRARY"
  /// CUDA 13.0 (driver 580), for which the kernels are compiled.
  package static let versionMin = 13_000

  let functions: DriverFunctions
  /// Major version times 1000, minor times 10.
  package let version: Int
  package let gpuCount: Int

  /// Opens the driver and starts it.
  ///
  /// - Parameter path: nil: as the environment says.
  package init(path: String? = nil) throws(CUDAError) {
    let name = path ?? Self.libraryPath
    guard let library = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
      let reason = dlerror().map { String(cString: $0) } ?? "unknown reason"
      throw CUDAError(
        .failedPrecondition,
        "no NVIDIA driver: \(reason). --device cuda needs a GPU with a driver "
          + "for CUDA 13; --device cpu runs without")
    }
    functions = try DriverFunctions(library: library)
    var version: Int32 = 0
    try Self.expect(functions.version(&version), "cuDriverGetVersion", functions)
    self.version = Int(version)
    guard self.version >= Self.versionMin else {
      throw CUDAError(
        .failedPrecondition,
        "NVIDIA's driver is for CUDA \(Self.text(self.version)); expected one "
          + "for CUDA \(Self.text(Self.versionMin)) or later (driver 580)")
    }
    try Self.expect(functions.initialize(0), "cuInit", functions)
    var count: Int32 = 0
    try Self.expect(functions.deviceCount(&count), "cuDeviceGetCount", functions)
    gpuCount = Int(count)
    guard gpuCount > 0 else { throw CUDAError(.notFound, "NVIDIA's driver shows no GPU") }
  }

  private static var libraryPath: String {
    guard let value = getenv(libraryVariable), value.pointee != 0 else { return "libcuda.so.1" }
    return String(cString: value)
  }

  private static func text(_ version: Int) -> String {
    "\(version / 1000).\(version % 1000 / 10)"
  }

  /// What a GPU is; `index` as the driver counts.
  package func properties(of index: Int) throws(CUDAError) -> GPUProperties {
    guard (0..<gpuCount).contains(index) else {
      throw CUDAError(
        .notFound,
        "there is no GPU cuda:\(index); the driver shows "
          + (gpuCount == 1 ? "one, cuda:0" : "\(gpuCount), cuda:0 to cuda:\(gpuCount - 1)"))
    }
    var device: Int32 = 0
    try expect(functions.device(&device, Int32(index)), "cuDeviceGet", of: index)
    var memoryBytes = 0
    try expect(functions.deviceMemory(&memoryBytes, device), "cuDeviceTotalMem", of: index)
    let name = try text(of: index, "cuDeviceGetName") {
      functions.deviceName($0, $1, device)
    }
    let address = try text(of: index, "cuDeviceGetPCIBusId") {
      functions.devicePCIAddress($0, $1, device)
    }
    return GPUProperties(
      index: index, device: device, name: name, memoryBytes: memoryBytes,
      multiprocessors: try attribute(16, of: device, index),
      capability: try attribute(75, of: device, index) * 10 + attribute(76, of: device, index),
      sharedBytesMax: try attribute(97, of: device, index),
      readsHostMemory: try attribute(89, of: device, index) != 0,
      sharesMemory: try attribute(103, of: device, index) != 0,
      uuid: try uuid(of: device, index), pciAddress: address.lowercased())
  }

  private func uuid(of device: Int32, _ index: Int) throws(CUDAError) -> String {
    var bytes = [UInt8](repeating: 0, count: 16)
    let status = bytes.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.map { functions.deviceUUID($0, device) } ?? 1
    }
    try expect(status, "cuDeviceGetUuid", of: index)
    return "GPU-" + bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private func attribute(
    _ number: Int32, of device: Int32, _ index: Int
  ) throws(CUDAError) -> Int {
    var value: Int32 = 0
    try expect(
      functions.deviceAttribute(&value, number, device), "cuDeviceGetAttribute", of: index)
    return Int(value)
  }

  private func text(
    of index: Int, _ call: String,
    _ read: (UnsafeMutablePointer<CChar>, Int32) -> DriverFunctions.Status
  ) throws(CUDAError) -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    let status = bytes.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.map { read($0, 255) } ?? 1
    }
    try expect(status, call, of: index)
    return String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  private func expect(
    _ status: DriverFunctions.Status, _ call: String, of index: Int
  ) throws(CUDAError) {
    guard status != 0 else { return }
    throw error(DriverStatus(rawValue: status), "cuda:\(index): \(call)")
  }

  private static func expect(
    _ status: DriverFunctions.Status, _ call: String, _ functions: DriverFunctions
  ) throws(CUDAError) {
    guard status != 0 else { return }
    let status = DriverStatus(rawValue: status)
    throw CUDAError(
      status.code, "\(call) of NVIDIA's driver failed: \(describe(status, functions))")
  }

  func error(_ status: DriverStatus, _ what: String) -> CUDAError {
    CUDAError(status.code, "\(what) failed: \(Self.describe(status, functions))")
  }

  private static func describe(_ status: DriverStatus, _ functions: DriverFunctions) -> String {
    var name: UnsafePointer<CChar>?
    guard functions.errorName(status.rawValue, &name) == 0, let name else {
      return "error \(status.rawValue)"
    }
    return "\(String(cString: name)) (\(status.rawValue))"
  }
}

/// What a GPU is.
package struct GPUProperties: Hashable, Sendable {
  package var index: Int
  /// The driver's own handle.
  var device: Int32
  package var name: String
  package var memoryBytes: Int
  package var multiprocessors: Int
  /// Compute capability: 80 for an A100, 90 for an H100.
  package var capability: Int
  /// Shared memory of a block of threads, at most.
  package var sharedBytesMax: Int
  /// Whether it reads managed memory where it lies, while the host uses it too.
  package var readsHostMemory: Bool
  /// Whether memory can be handed to another process as a file descriptor.
  package var sharesMemory: Bool
  /// "GPU-" and 32 hexadecimal digits: the same in every process, however it counts.
  package var uuid: String
  /// "0000:17:00.0"
  package var pciAddress: String

  /// For messages: "cuda:0 (NVIDIA H100 80GB HBM3)".
  var place: String { "cuda:\(index) (\(name))" }
}
