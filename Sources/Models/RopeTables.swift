// SPDX-License-Identifier: Apache-2.0

internal import Checkpoint
internal import Glibc
internal import Program

// Formulas and their order of operations are those of transformers' modeling_rope_utils.py: powers
// and products are rounded to 32 bits where it rounds them, because an angle grows with position.
extension RopeTable {
  /// The table for groups of `width` columns.
  init(_ parameters: RopeParameters, width: Int) {
    let plain = (0..<width / 2).map { pair in
      1 / powf(Float(parameters.theta), Float(2 * pair) / Float(width))
    }
    switch parameters.scaling {
    case .none: self.init(inverseFrequencies: plain)
    case .yarn(let yarn):
      let dimension = { rotations in
        yarn.dimension(ofRotations: rotations, theta: parameters.theta, width: width)
      }
      self.init(
        inverseFrequencies: yarn.stretch(plain, dimension: dimension, width: width),
        magnitude: Float(yarn.magnitude))
    case .llama3(let llama3):
      self.init(inverseFrequencies: plain.map(llama3.stretch))
    }
  }
}

extension RopeParameters {
  /// DeepSeek scales the softmax by the square of this under YaRN; 1 elsewhere.
  var softmaxMagnitude: Double {
    guard case .yarn(let yarn) = scaling, yarn.mscaleAllDim != 0 else { return 1 }
    return yarn.magnitude(weight: yarn.mscaleAllDim)
  }
}

/// YaRN (Peng et al. 2023, section 3): fast pairs stay as they are, slow ones are slowed by
/// `factor`, and a ramp blends those between.
extension RopeParameters.YaRN {
  /// `0.1 · weight · ln(factor) + 1`
  func magnitude(weight: Double) -> Double {
    factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1
  }

  /// What multiplies sine and cosine.
  var magnitude: Double {
    if let attentionFactor { return attentionFactor }
    guard mscale != 0, mscaleAllDim != 0 else { return magnitude(weight: 1) }
    return magnitude(weight: mscale) / magnitude(weight: mscaleAllDim)
  }

  /// The pair, as a fraction, that turns so many times within the original context.
  func dimension(ofRotations rotations: Double, theta: Double, width: Int) -> Double {
    Double(width) * log(Double(originalContextLength) / (rotations * 2 * .pi)) / (2 * log(theta))
  }

  func stretch(_ frequencies: [Float], dimension: (Double) -> Double, width: Int) -> [Float] {
    var low = dimension(betaFast)
    var high = dimension(betaSlow)
    if truncate {
      low = low.rounded(.down)
      high = high.rounded(.up)
    }
    low = max(low, 0)
    high = min(high, Double(width - 1))
    if low == high { high += 0.001 }
    return frequencies.enumerated().map { pair, frequency in
      let ramp = min(max((Float(pair) - Float(low)) / Float(high - low), 0), 1)
      let kept = 1 - ramp
      return frequency / Float(factor) * (1 - kept) + frequency * kept
    }
  }
}

/// Llama 3.1's extension: by wavelength, with a smooth change between kept and stretched pairs.
extension RopeParameters.Llama3 {
  func stretch(_ frequency: Float) -> Float {
    let length = Float(originalContextLength)
    let wavelength = 2 * Float.pi / frequency
    if wavelength < length / Float(highFrequencyFactor) { return frequency }
    if wavelength > length / Float(lowFrequencyFactor) { return frequency / Float(factor) }
    let smooth =
      (length / wavelength - Float(lowFrequencyFactor))
      / Float(highFrequencyFactor - lowFrequencyFactor)
    return (1 - smooth) * frequency / Float(factor) + smooth * frequency
  }
}
