// SPDX-License-Identifier: Apache-2.0

package import Support

/// What NVIDIA's driver refused or a GPU failed at; the message names the GPU, the call and, where
/// there is one, the kernel and the step.
package struct CUDAError: OperatingError {
  package var code: ErrorCode
  package var message: String

  package init(_ code: ErrorCode, _ message: String) {
    self.code = code
    self.message = message
  }
}

/// A result code of the driver (`CUresult`).
struct DriverStatus: Hashable {
  let rawValue: Int32

  static let success = DriverStatus(rawValue: 0)
  static let outOfMemory = DriverStatus(rawValue: 2)
  static let noDevice = DriverStatus(rawValue: 100)
  static let invalidDevice = DriverStatus(rawValue: 101)
  static let invalidImage = DriverStatus(rawValue: 200)
  static let noBinaryForGPU = DriverStatus(rawValue: 209)
  static let peerAccessAlreadyEnabled = DriverStatus(rawValue: 704)
  static let tooManyPeers = DriverStatus(rawValue: 711)
  static let systemDriverMismatch = DriverStatus(rawValue: 803)

  /// What it is for whoever asked: memory may come back, a fault of the GPU does not.
  var code: ErrorCode {
    switch self {
    case .outOfMemory: .resourceExhausted
    case .noDevice, .invalidDevice: .notFound
    case .invalidImage, .noBinaryForGPU, .systemDriverMismatch: .failedPrecondition
    default: .unavailable
    }
  }
}
