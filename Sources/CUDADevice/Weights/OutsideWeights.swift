// SPDX-License-Identifier: Apache-2.0

package import Program
internal import Support

/// Weights that lie in the host's memory since the GPU's is too small for all, whole operations
/// each.
///
/// They go in the order in which a step reads least of them for their size: the embeddings (one row
/// for a token), the experts of the last layer, of the one before and so on (those that a token
/// chooses), then what is read whole in every step, from the last operation on.
package struct OutsideWeights {
  package private(set) var operations: Set<Int> = []
  package private(set) var byteCount = 0
  private var hasEmbeddings = false
  private var expertLayers = 0
  private var others = 0

  /// None.
  package init() {}

  /// - Parameters:
  ///   - weightBytes: of each operation.
  ///   - missing: bytes that must go at least; all go, if they are fewer.
  package init(_ program: Program, _ weightBytes: [Int], missing: Int) {
    for index in Self.order(program) where byteCount < missing && weightBytes[index] > 0 {
      operations.insert(index)
      byteCount += weightBytes[index]
      switch program.operations[index] {
      case .embed: hasEmbeddings = true
      case .experts: expertLayers += 1
      default: others += 1
      }
    }
  }

  private static func order(_ program: Program) -> [Int] {
    func rank(_ index: Int) -> Int {
      switch program.operations[index] {
      case .embed: 0
      case .experts: 1
      default: 2
      }
    }
    return program.operations.indices.sorted { (rank($0), -$0) < (rank($1), -$1) }
  }

  /// What a person should know; nil if all is on the GPU.
  package func note(gpu: Int) -> String? {
    guard byteCount > 0 else { return nil }
    var parts: [String] = []
    if hasEmbeddings { parts.append("the embeddings") }
    if expertLayers > 0 {
      let layers = expertLayers == 1 ? "layer" : "\(expertLayers) layers"
      parts.append("the experts of the last \(layers) with some")
    }
    if others > 0 { parts.append("what \(others) operations more read whole") }
    return "warning: \(ByteCount.text(byteCount)) of weights (\(byteCount) bytes) lie outside "
      + "cuda:\(gpu), in the host's memory: \(parts.joined(separator: ", ")). What a step reads "
      + "of them comes over the GPU's link, 50 GB/s at best on PCIe 5.0 where an H100's own memory "
      + "gives 3 TB/s; what that costs has not been measured"
  }
}
