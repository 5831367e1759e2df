// SPDX-License-Identifier: Apache-2.0

internal import Program
internal import Support

/// What must be the same for two processes to use the same weights: in words, one line each.
struct WeightKey: Hashable, Sendable {
  /// To be raised with every change of how weights lie in the GPU's memory (`Lowering`,
  /// `WeightLoader`, the kernels that pack).
  private static let layoutVersion = 1
  /// Bytes looked at, at the begin, in the middle and at the end of each tensor.
  private static let sampleBytes = 4_096

  let text: String

  /// - Parameters:
  ///   - model: what tells the checkpoint from others.
  ///   - isExpanded: whether the rows that make keys lie there for expanded prompts, too.
  init(
    model: String, _ program: Program, from source: any WeightSource, precision: CUDAPrecision,
    formats: String, isExpanded: Bool, byteCount: Int, gpu: String
  ) throws(WeightError) {
    var contents = ""
    for operation in program.operations {
      for weight in operation.weights {
        contents += "\(weight) \(try Self.sample(of: source.tensor(weight)))\n"
      }
    }
    text = [
      "layout \(Self.layoutVersion)", "GPU \(gpu)", "model \(model)",
      "program \(program.name) \(Self.digest(contents))",
      "precision \(precision.rawValue) \(formats)",
      "latents \(isExpanded ? "expanded" : "absorbed")", "\(byteCount) bytes",
    ].joined(separator: "\n")
  }

  private static func digest(_ text: String) -> String {
    ContentDigest.text(Array(text.utf8).withUnsafeBytes { ContentDigest.of($0) })
  }

  private static func sample(of tensor: StoredTensor) -> String {
    let bytes = tensor.bytes
    var words = "\(tensor.type.rawValue) \(bytes.count)"
    let starts = [0, bytes.count / 2, max(0, bytes.count - sampleBytes)]
    for start in starts {
      let part = bytes[start..<min(bytes.count, start + sampleBytes)]
      words += " " + ContentDigest.text(ContentDigest.of(UnsafeRawBufferPointer(rebasing: part)))
    }
    return words
  }

  /// For people: on one line.
  var line: String { text.split(separator: "\n").joined(separator: ", ") }
}
