// SPDX-License-Identifier: Apache-2.0

package import CUDADriver
internal import Glibc
internal import Support

/// The file of the GPU's kernels, which `make kernels` compiles: machine code for each kind of GPU
/// and PTX for those to come.
///
/// It is what `SILICA_CUDA_KERNELS` names, or `silica-kernels.fatbin` beside the executable, or in
/// `lib/` beside the executable's folder. Whole steps as one kernel lie beside it.
package enum KernelFile {
  package static let variable = "SILICA_CUDA_KERNELS"
  package static let name = "silica-kernels.fatbin"
  static let oneLaunchName = "silica-steps.fatbin"
  /// Larger than any set of kernels.
  package static let byteCountMax = 256 << 20

  /// Where it is.
  package static func path() throws(CUDAError) -> String {
    if let value = getenv(variable), value.pointee != 0 { return String(cString: value) }
    let candidates = candidates
    guard let found = candidates.first(where: { access($0, R_OK) == 0 }) else {
      throw CUDAError(
        .failedPrecondition,
        "the GPU's kernels are missing: no file \(candidates.joined(separator: ", nor ")); "
          + "'make kernels' makes it, and \(variable) may name another place")
    }
    return found
  }

  private static var candidates: [String] {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink("/proc/self/exe", &bytes, bytes.count - 1)
    let executable = String(
      decoding: bytes.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    let folder = executable.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
    return ["\(folder)/\(name)", "\(folder)/../lib/\(name)"]
  }

  /// The file of whole steps, in the folder of another.
  static func oneLaunchPath(beside path: String) throws(CUDAError) -> String {
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
    let found = (folder + [Substring(oneLaunchName)]).joined(separator: "/")
    guard access(found, R_OK) == 0 else {
      throw CUDASteps.refusal(
        "the kernels for it are missing: no file \(found); 'make kernels' makes it")
    }
    return found
  }

  static func load(_ path: String, on gpu: GPU) throws(CUDAError) -> GPU.Module {
    let bytes = try read(path)
    return try bytes.withUnsafeBytes { image in
      Result { () throws(CUDAError) in try gpu.load(image, from: path) }
    }.get()
  }

  /// Its bytes, and a zero behind them.
  private static func read(_ path: String) throws(CUDAError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw CUDAError(
        .failedPrecondition,
        "cannot open the GPU's kernels \(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count <= byteCountMax {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count >= 0 else {
        throw CUDAError(
          .failedPrecondition,
          "cannot read the GPU's kernels \(path): \(String(cString: strerror(errno)))")
      }
      if count == 0 { return bytes + [0] }
      bytes += chunk[..<count]
    }
    throw CUDAError(.failedPrecondition, "\(path) is larger than \(byteCountMax) bytes")
  }
}
