// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import Glibc
internal import Support

extension CUDASteps {
  static let variable = "SILICA_CUDA_STEPS"

  /// Why a model's steps cannot be one launch each.
  static func refusal(_ reason: String) -> CUDAError {
    CUDAError(
      .failedPrecondition,
      "steps as '\(oneLaunch.rawValue)' were asked for (by --steps or \(variable)), but \(reason)")
  }

  /// What the environment says; graphs if nothing.
  static func ofEnvironment() throws(CUDAError) -> CUDASteps {
    guard let value = getenv(variable), value.pointee != 0 else { return .graphs }
    let word = String(cString: value)
    guard let steps = CUDASteps(rawValue: word) else {
      let known = allCases.map(\.rawValue).joined(separator: ", ")
      throw CUDAError(.invalidArgument, "\(variable) is '\(word)'; expected one of \(known)")
    }
    return steps
  }
}
