// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// Every target is Swift 6 with strict concurrency, and names the modules whose members it uses.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// What every token passes through. Objects there are confined to one thread each, and a token would
/// cost thirty checks, of 75 instructions, that none is changed while it is in use: debug builds
/// make them.
let hotTargets: Set = ["Executor", "Engine", "RPC", "Serving"]
let uncheckedAccess = SwiftSetting.unsafeFlags(
  ["-enforce-exclusivity=unchecked"], .when(configuration: .release))

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/\(name)", exclude: ["README.md"],
    swiftSettings: settings + (hotTargets.contains(name) ? [uncheckedAccess] : []))
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [])
  -> Target
{
  .testTarget(
    name: name, dependencies: dependencies + ["TestSupport"], path: "Tests/\(name)",
    exclude: exclude, swiftSettings: settings)
}

let package = Package(
  name: "silica",
  products: [
    .executable(name: "silica", targets: ["silica"]),
    .executable(name: "protoc-gen-silica", targets: ["protoc-gen-silica"]),
    .library(name: "CUDAEmulator", type: .dynamic, targets: ["CUDAEmulator"]),
  ],
  targets: [
    // C at the borders: module maps with inline shims, and the CPU kernels. No `pkgConfig` on gRPC:
    // Debian's grpc.pc repeats its flags until the linker's command line overflows.
    .systemLibrary(name: "CGRPC", path: "CShims/CGRPC"),
    .systemLibrary(name: "CNUMA", path: "CShims/CNUMA"),
    .systemLibrary(name: "COpenSSL", path: "CShims/COpenSSL"),
    .systemLibrary(name: "CPCRE2", path: "CShims/CPCRE2"),
    .systemLibrary(name: "CZlib", path: "CShims/CZlib"),
    .systemLibrary(name: "CUDAKernels", path: "CShims/CUDAKernels"),
    .target(
      name: "CAccept", path: "CShims/CAccept", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
    .target(
      name: "CReceive", path: "CShims/CReceive", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])],
      linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
    .target(
      name: "CSend", path: "CShims/CSend", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
    .target(
      name: "CLinux", path: "CShims/CLinux", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
    .target(
      name: "CKernels", path: "CShims/CKernels", exclude: ["README.md"],
      cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
    // NVIDIA's driver on processors, for tests without a GPU; opened at run time, linked nowhere.
    .target(
      name: "CUDAEmulator", path: "CShims/CUDAEmulator", exclude: ["README.md"],
      cxxSettings: [
        .unsafeFlags([
          "-std=c++17", "-O2", "-Wall", "-Wextra", "-fsanitize=alignment",
          "-fsanitize-minimal-runtime", "-fno-sanitize-recover=alignment",
        ])
      ]),

    // The data flow, in order. `Tests/Tidy` holds the imports to this list.
    library("Support", ["CLinux"]),
    library("Topology", ["Support", "CNUMA"]),
    library("Wire", ["Support"]),
    .executableTarget(
      name: "protoc-gen-silica", dependencies: ["Wire"], path: "Sources/protoc-gen-silica",
      exclude: ["README.md", "Proto"], swiftSettings: settings),
    library("Messages", ["Wire"]),
    library("Secrets", ["Support", "COpenSSL"]),
    library(
      "RPC", ["Support", "Secrets", "CAccept", "CGRPC", "CReceive", "CSend", "CZlib"]),
    library("Text", ["Support", "CPCRE2"]),
    library("Program", ["Support"]),
    library("Checkpoint", ["Support", "Program"]),
    library("Models", ["Support", "Program", "Checkpoint"]),
    library("Slicing", ["Support", "Program"]),
    library("Cache", ["Support"]),
    library("Step", ["Support"]),
    library("Scheduler", ["Support", "Step", "Cache"]),
    library("Sampling", ["Support", "Step"]),
    library("Device", ["Support", "Program", "Step"]),
    library("CPUDevice", ["Support", "Program", "Step", "Topology", "Device", "CKernels"]),
    library("CUDADriver", ["Support"]),
    library(
      "CUDADevice", ["Support", "Program", "Step", "Device", "CUDADriver", "CUDAKernels"]),
    library(
      "Conformance",
      ["Support", "Program", "Checkpoint", "Models", "Step", "Sampling", "Device"]),
    library("Synthetic", ["Support", "Program", "Step", "Text", "Device"]),
    library("Executor", ["Support", "Program", "Step", "Topology", "Slicing", "Device"]),
    library(
      "Engine",
      [
        "Support", "Program", "Step", "Cache", "Scheduler", "Sampling", "Slicing", "Topology",
        "Executor",
      ]),
    library(
      "Serving", ["Support", "Secrets", "RPC", "Wire", "Messages", "Text", "Step", "Engine"]),
    .executableTarget(
      name: "silica",
      dependencies: [
        "Support", "Secrets", "Topology", "Wire", "Messages", "RPC", "Text", "Checkpoint",
        "Program", "Models", "Slicing", "Step", "Device", "CPUDevice", "CUDADriver", "CUDADevice",
        "Conformance", "Synthetic", "Executor", "Engine",
        "Serving",
      ],
      path: "Sources/silica", exclude: ["README.md"], swiftSettings: settings),

    // Tests: one folder per target, and one each for what crosses targets.
    .target(
      name: "TestSupport", dependencies: ["Support"], path: "Tests/TestSupport",
      swiftSettings: settings),
    // Counts allocations; links malloc of its own into the test program.
    .target(
      name: "CAllocations", path: "Tests/CAllocations",
      cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
    tests("SupportTests", ["Support"]),
    tests("TopologyTests", ["Support", "Topology"]),
    // Compares with Python, and runs the plugin.
    tests(
      "WireTests", ["Support", "Wire", "Messages", "protoc-gen-silica"],
      exclude: ["Proto", "Python"]),
    tests("SecretsTests", ["Support", "Secrets"]),
    tests("RPCTests", ["Support", "Secrets", "CGRPC", "CSend", "RPC"]),
    tests("TextTests", ["Support", "Text"]),
    tests(
      "CheckpointTests", ["Support", "Program", "Checkpoint"], exclude: ["Goldens"]),
    tests(
      "ModelsTests", ["Support", "Program", "Checkpoint", "Models", "Step", "Device"]),
    tests(
      "DeviceTests",
      [
        "Support", "Program", "Checkpoint", "Models", "Slicing", "Step", "Device", "CPUDevice",
        "CUDADriver", "CUDADevice", "Conformance", "CAllocations",
      ], exclude: ["Goldens"]),
    tests(
      "SyntheticTests",
      ["Support", "Program", "Step", "Text", "Device", "Topology", "Engine", "Synthetic"]),
    tests("CacheTests", ["Support", "Cache"]),
    tests("SchedulerTests", ["Support", "Step", "Cache", "Scheduler"]),
    tests("SamplingTests", ["Support", "Step", "Sampling"], exclude: ["Goldens"]),
    tests("SlicingTests", ["Support", "Program", "Topology", "Slicing"]),
    tests(
      "EngineTests",
      [
        "Support", "Program", "Checkpoint", "Models", "Step", "Cache", "Scheduler", "Sampling",
        "Slicing", "Topology", "Device", "CPUDevice", "CUDADevice", "Conformance", "Executor",
        "Engine",
      ]),
    tests(
      "ServingTests",
      [
        "Support", "Secrets", "RPC", "Wire", "Messages", "Text", "Program", "Checkpoint",
        "Models", "Step", "Topology", "Device", "Executor", "Engine", "Serving",
      ]),
    // Runs the command.
    tests("EndToEndTests", ["Support", "Secrets", "RPC", "Wire", "Messages", "silica"]),
    tests("TidyTests", ["Support"]),
  ]
)
