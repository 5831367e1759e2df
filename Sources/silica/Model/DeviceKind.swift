// SPDX-License-Identifier: Apache-2.0

/// Where operations run, by the name that `--device` gives.
enum DeviceKind: Equatable {
  case reference, cpu
  /// A GPU, or all of them by turns.
  case cuda(Int?)

  /// More GPUs than a machine has.
  private static let gpuCountMax = 1_024

  /// nil if there is none of that name.
  init?(_ name: String) {
    switch name {
    case "auto", "cpu": self = .cpu
    case "reference": self = .reference
    case "cuda": self = .cuda(nil)
    default:
      let number = name.hasPrefix("cuda:") ? Int(name.dropFirst(5)) : nil
      guard let number, (0..<Self.gpuCountMax).contains(number) else { return nil }
      self = .cuda(number)
    }
  }
}
