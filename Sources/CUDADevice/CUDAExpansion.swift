// SPDX-License-Identifier: Apache-2.0

internal import CUDADriver
internal import CUDAKernels
internal import Device
package import Program
internal import Support

/// Latent attention of prompts in its expanded form: keys and values of each head are made of the
/// cached latents of the whole sequence once for a chunk of it (`attention_expanded.cu`). All other
/// rows take the absorbed form, and so do steps that end between the operations of a group.
package struct CUDAExpansion: Hashable, Sendable {
  /// Rows of one sequence in a step from which on they are attended to so; nil: from where on it
  /// takes fewer operations, however many tokens are before them.
  package var rowsMin: Int?
  /// Cached tokens that are expanded at once, a multiple of `tokensMultiple`; it changes no bit.
  package var portionTokens: Int

  /// So that buffers of DeepSeek-V3 are 128 MiB and sums are carried on rarely.
  package static let portionTokensDefault = 2_048
  /// Tokens are expanded in whole such.
  static let tokensMultiple = 128

  package init(rowsMin: Int? = nil, portionTokens: Int = portionTokensDefault) {
    self.rowsMin = rowsMin
    self.portionTokens = portionTokens
  }

  /// Rows from which on some groups take fewer operations. Of each head, a pair of query and key
  /// takes `2 · latent + rope` multiplications in the absorbed form, `plain + rope + value` in the
  /// expanded one, which takes `latent · (plain + value)` beside for each cached token.
  package static func rowsMin(of groups: [LatentGroup]) -> Int {
    groups.reduce(2) { most, group in
      let saved = savedPerPair(group)
      let expanding = group.latentWidth * (group.plainWidth + group.valueWidth)
      return saved > 0 ? max(most, (expanding + saved - 1) / saved) : .max
    }
  }

  /// Multiplications of a head that a pair of query and key takes fewer; negative if it takes more.
  static func savedPerPair(_ group: LatentGroup) -> Int {
    2 * group.latentWidth - group.plainWidth - group.valueWidth
  }

  /// Rows from which on a program's are attended to so. Throws if that cannot be.
  func checked(_ program: Program, _ slice: ContextSlice) throws(CUDAError) -> Int {
    check(
      portionTokens > 0 && portionTokens % Self.tokensMultiple == 0,
      "portions of \(portionTokens) tokens")
    func refuse(_ reason: String) -> CUDAError {
      CUDAError(
        .failedPrecondition, "--mla-prefill expanded \(reason); expected --mla-prefill absorbed")
    }
    guard slice == .whole else {
      throw refuse("does not go with context slices, which merge what they attended to")
    }
    let groups = program.latentGroups
    let attentions = program.operations.filter {
      if case .latentAttention = $0 { true } else { false }
    }
    guard !groups.isEmpty, groups.count == attentions.count else {
      throw refuse("is for models with latent attention (DeepSeek's), which this is not")
    }
    for group in groups {
      guard group.valueWidth <= cu_value_width_few, group.plainWidth <= group.latentWidth else {
        throw refuse(
          "takes values of up to \(cu_value_width_few) columns and keys of up to as many plain "
            + "ones as latents have; the model's are \(group.valueWidth) and \(group.plainWidth) "
            + "of \(group.latentWidth)")
      }
    }
    if let rowsMin { return max(2, rowsMin) }
    let rows = Self.rowsMin(of: groups)
    guard rows < .max else {
      throw refuse("takes no fewer operations than the absorbed form for this model")
    }
    return rows
  }
}
