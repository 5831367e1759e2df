// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Device

extension CUDAError {
  /// What `body` gives, or its error as one of the device.
  static func forDevice<Result>(
    _ body: () throws(CUDAError) -> Result
  ) throws(DeviceError) -> Result {
    do throws(CUDAError) { return try body() } catch {
      throw DeviceError(error.code, error.message)
    }
  }
}
