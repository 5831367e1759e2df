// SPDX-License-Identifier: Apache-2.0

/// A GPU's primary context, which all of the process share, held as long as this object lives.
/// Safe to use from any thread.
final class PrimaryContext: @unchecked Sendable {  // the driver's handles are made for sharing
  let handle: UnsafeMutableRawPointer
  let properties: GPUProperties
  let driver: CUDADriver

  /// Throws the driver's status.
  init(_ driver: CUDADriver, _ properties: GPUProperties) throws(CUDAError) {
    var handle: UnsafeMutableRawPointer?
    let status = driver.functions.retainContext(&handle, properties.device)
    guard status == 0, let handle else {
      throw driver.error(DriverStatus(rawValue: status), "\(properties.place): to begin")
    }
    self.handle = handle
    self.properties = properties
    self.driver = driver
  }

  deinit { _ = driver.functions.releaseContext(properties.device) }

  /// Runs calls of the driver as ones of this GPU, whichever the calling thread uses otherwise.
  func asCurrent(_ body: () -> DriverFunctions.Status) -> DriverFunctions.Status {
    let status = driver.functions.pushContext(handle)
    if status != 0 { return status }
    defer {
      var popped: UnsafeMutableRawPointer?
      _ = driver.functions.popContext(&popped)
    }
    return body()
  }
}
