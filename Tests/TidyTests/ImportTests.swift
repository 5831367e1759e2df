// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// Imports go one way: each target uses what `Package.swift` lists for it, and no more.
@Suite struct ImportTests {
  /// Modules of the toolchain that any target may use.
  private static let common: Set = ["Synchronization"]
  /// Targets that a deterministic simulation runs as they are: no C, clock, thread or Foundation.
  private static let pure: Set = [
    "Cache", "Messages", "Program", "Scheduler", "Slicing", "Step", "Wire",
  ]
  /// Who alone may see a C library.
  private static let owners = [
    "CAccept": "RPC", "CGRPC": "RPC", "CReceive": "RPC", "CSend": "RPC", "CZlib": "RPC",
    "CNUMA": "Topology", "COpenSSL": "Secrets", "CPCRE2": "Text", "CKernels": "CPUDevice",
    "CUDAKernels": "CUDADevice",
    "CLinux": "Support",
  ]

  @Test func `a target imports only what the package lists for it`() throws {
    let targets = try PackageFile.targets()
    #expect(targets.count > 15)
    for source in try SourceFile.all(under: "Sources", extensions: ["swift"]) {
      let dependencies = try #require(targets[source.target], "\(source.target) is not a target")
      for module in source.imports where !Self.common.contains(module) {
        if module == "Glibc" { continue }
        #expect(dependencies.contains(module), "\(source.path) imports \(module)")
      }
    }
  }

  @Test func `every listed dependency is used`() throws {
    var used: [String: Set<String>] = [:]
    for source in try SourceFile.all(under: "Sources", extensions: ["swift"]) {
      used[source.target, default: []].formUnion(source.imports)
    }
    for (target, dependencies) in try PackageFile.targets() where used[target] != nil {
      for dependency in dependencies {
        #expect(used[target]?.contains(dependency) == true, "\(target) never imports \(dependency)")
      }
    }
  }

  @Test func `pure targets see no system, and none sees Foundation or Dispatch`() throws {
    for source in try SourceFile.all(under: "Sources", extensions: ["swift"]) {
      if Self.pure.contains(source.target) {
        #expect(!source.imports.contains("Glibc"), "\(source.path) imports Glibc")
      }
      // Five megabytes of the binary.
      #expect(!source.imports.contains("Foundation"), "\(source.path) imports Foundation")
      #expect(!source.imports.contains("Dispatch"), "\(source.path) imports Dispatch")
    }
  }

  @Test func `each C library has one owner`() throws {
    for source in try SourceFile.all(under: "Sources", extensions: ["swift"]) {
      for (library, owner) in Self.owners where source.imports.contains(library) {
        #expect(source.target == owner, "\(source.path) imports \(library)")
      }
    }
  }

  @Test func `dependencies form no cycle`() throws {
    let targets = try PackageFile.targets()
    var done = Set<String>()
    func visit(_ target: String, _ path: [String]) {
      #expect(!path.contains(target), "cycle: \(path + [target])")
      guard !path.contains(target), !done.contains(target) else { return }
      for dependency in targets[target] ?? [] { visit(dependency, path + [target]) }
      done.insert(target)
    }
    for target in targets.keys { visit(target, []) }
  }
}
