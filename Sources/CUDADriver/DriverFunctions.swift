// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Support

/// The driver's functions that Silica calls, found by name in the library (CUDA driver API, 13.0;
/// the suffixes are versions of a function).
struct DriverFunctions {
  typealias Handle = UnsafeMutableRawPointer
  typealias Status = Int32
  /// `CUmemLocation`, two 32-bit integers that are passed in one register: what kind of place, and
  /// above it the number of a GPU.
  typealias Location = UInt64

  let initialize: @convention(c) (UInt32) -> Status
  let version: @convention(c) (UnsafeMutablePointer<Int32>) -> Status
  let errorName: @convention(c) (Status, UnsafeMutablePointer<UnsafePointer<CChar>?>) -> Status
  let deviceCount: @convention(c) (UnsafeMutablePointer<Int32>) -> Status
  let device: @convention(c) (UnsafeMutablePointer<Int32>, Int32) -> Status
  let deviceName: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Int32) -> Status
  let deviceAttribute: @convention(c) (UnsafeMutablePointer<Int32>, Int32, Int32) -> Status
  let devicePCIAddress: @convention(c) (UnsafeMutablePointer<CChar>, Int32, Int32) -> Status
  let deviceUUID: @convention(c) (UnsafeMutablePointer<UInt8>, Int32) -> Status
  let deviceMemory: @convention(c) (UnsafeMutablePointer<Int>, Int32) -> Status
  let retainContext: @convention(c) (UnsafeMutablePointer<Handle?>, Int32) -> Status
  let releaseContext: @convention(c) (Int32) -> Status
  let setContext: @convention(c) (Handle?) -> Status
  let pushContext: @convention(c) (Handle) -> Status
  let popContext: @convention(c) (UnsafeMutablePointer<Handle?>) -> Status
  let canAccessPeer: @convention(c) (UnsafeMutablePointer<Int32>, Int32, Int32) -> Status
  let enablePeerAccess: @convention(c) (Handle, UInt32) -> Status
  let memoryInfo: @convention(c) (UnsafeMutablePointer<Int>, UnsafeMutablePointer<Int>) -> Status
  let allocate: @convention(c) (UnsafeMutablePointer<UInt64>, Int) -> Status
  let allocateManaged: @convention(c) (UnsafeMutablePointer<UInt64>, Int, UInt32) -> Status
  let advise: @convention(c) (UInt64, Int, Int32, Location) -> Status
  let prefetch: @convention(c) (UInt64, Int, Location, UInt32, Handle?) -> Status
  let granularity:
    @convention(c) (UnsafeMutablePointer<Int>, UnsafePointer<UInt64>, Int32) -> Status
  let createMemory:
    @convention(c) (UnsafeMutablePointer<UInt64>, Int, UnsafePointer<UInt64>, UInt64) -> Status
  let releaseMemory: @convention(c) (UInt64) -> Status
  let exportMemory: @convention(c) (UnsafeMutablePointer<Int32>, UInt64, Int32, UInt64) -> Status
  let importMemory: @convention(c) (UnsafeMutablePointer<UInt64>, Handle?, Int32) -> Status
  let reserveAddresses:
    @convention(c) (UnsafeMutablePointer<UInt64>, Int, Int, UInt64, UInt64) -> Status
  let freeAddresses: @convention(c) (UInt64, Int) -> Status
  let map: @convention(c) (UInt64, Int, Int, UInt64, UInt64) -> Status
  let setAccess: @convention(c) (UInt64, Int, UnsafePointer<Int32>, Int) -> Status
  let unmap: @convention(c) (UInt64, Int) -> Status
  let free: @convention(c) (UInt64) -> Status
  let allocatePinned: @convention(c) (UnsafeMutablePointer<Handle?>, Int, UInt32) -> Status
  let mappedAddress: @convention(c) (UnsafeMutablePointer<UInt64>, Handle, UInt32) -> Status
  let freePinned: @convention(c) (Handle) -> Status
  let copyIn: @convention(c) (UInt64, UnsafeRawPointer, Int, Handle?) -> Status
  let copyOut: @convention(c) (Handle, UInt64, Int, Handle?) -> Status
  let copyWithin: @convention(c) (UInt64, UInt64, Int, Handle?) -> Status
  let copyToPeer: @convention(c) (UInt64, Handle, UInt64, Handle, Int, Handle?) -> Status
  let fill: @convention(c) (UInt64, UInt8, Int, Handle?) -> Status
  let createStream: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Status
  let destroyStream: @convention(c) (Handle) -> Status
  let synchronizeStream: @convention(c) (Handle) -> Status
  let createEvent: @convention(c) (UnsafeMutablePointer<Handle?>, UInt32) -> Status
  let destroyEvent: @convention(c) (Handle) -> Status
  let recordEvent: @convention(c) (Handle, Handle?) -> Status
  let waitForEvent: @convention(c) (Handle, Handle, UInt32) -> Status
  let synchronizeEvent: @convention(c) (Handle) -> Status
  let beginCapture: @convention(c) (Handle, Int32) -> Status
  let endCapture: @convention(c) (Handle, UnsafeMutablePointer<Handle?>) -> Status
  let instantiateGraph: @convention(c) (UnsafeMutablePointer<Handle?>, Handle, UInt64) -> Status
  let launchGraph: @convention(c) (Handle, Handle) -> Status
  let destroyGraph: @convention(c) (Handle) -> Status
  let destroyExecutableGraph: @convention(c) (Handle) -> Status
  let elapsedTime: @convention(c) (UnsafeMutablePointer<Float>, Handle, Handle) -> Status
  let loadModule: @convention(c) (UnsafeMutablePointer<Handle?>, UnsafeRawPointer) -> Status
  let unloadModule: @convention(c) (Handle) -> Status
  let moduleFunction:
    @convention(c) (UnsafeMutablePointer<Handle?>, Handle, UnsafePointer<CChar>) -> Status
  let setFunctionAttribute: @convention(c) (Handle, Int32, Int32) -> Status
  let blocksOfMultiprocessor:
    @convention(c) (UnsafeMutablePointer<Int32>, Handle, Int32, Int) -> Status
  let launch:
    @convention(c) (
      UnsafeRawPointer, Handle, UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
      UnsafeMutablePointer<Handle?>?
    ) -> Status

  /// Throws the name of the first function that the library lacks.
  init(library: Handle) throws(CUDAError) {
    let find = Finder(library: library)
    initialize = try find("cuInit")
    version = try find("cuDriverGetVersion")
    errorName = try find("cuGetErrorName")
    deviceCount = try find("cuDeviceGetCount")
    device = try find("cuDeviceGet")
    deviceName = try find("cuDeviceGetName")
    deviceAttribute = try find("cuDeviceGetAttribute")
    devicePCIAddress = try find("cuDeviceGetPCIBusId")
    deviceUUID = try find("cuDeviceGetUuid_v2")
    deviceMemory = try find("cuDeviceTotalMem_v2")
    retainContext = try find("cuDevicePrimaryCtxRetain")
    releaseContext = try find("cuDevicePrimaryCtxRelease_v2")
    setContext = try find("cuCtxSetCurrent")
    pushContext = try find("cuCtxPushCurrent_v2")
    popContext = try find("cuCtxPopCurrent_v2")
    canAccessPeer = try find("cuDeviceCanAccessPeer")
    enablePeerAccess = try find("cuCtxEnablePeerAccess")
    memoryInfo = try find("cuMemGetInfo_v2")
    allocate = try find("cuMemAlloc_v2")
    allocateManaged = try find("cuMemAllocManaged")
    advise = try find("cuMemAdvise_v2")
    prefetch = try find("cuMemPrefetchAsync_v2")
    granularity = try find("cuMemGetAllocationGranularity")
    createMemory = try find("cuMemCreate")
    releaseMemory = try find("cuMemRelease")
    exportMemory = try find("cuMemExportToShareableHandle")
    importMemory = try find("cuMemImportFromShareableHandle")
    reserveAddresses = try find("cuMemAddressReserve")
    freeAddresses = try find("cuMemAddressFree")
    map = try find("cuMemMap")
    setAccess = try find("cuMemSetAccess")
    unmap = try find("cuMemUnmap")
    free = try find("cuMemFree_v2")
    allocatePinned = try find("cuMemHostAlloc")
    mappedAddress = try find("cuMemHostGetDevicePointer_v2")
    freePinned = try find("cuMemFreeHost")
    copyIn = try find("cuMemcpyHtoDAsync_v2")
    copyOut = try find("cuMemcpyDtoHAsync_v2")
    copyWithin = try find("cuMemcpyDtoDAsync_v2")
    copyToPeer = try find("cuMemcpyPeerAsync")
    fill = try find("cuMemsetD8Async")
    createStream = try find("cuStreamCreate")
    destroyStream = try find("cuStreamDestroy_v2")
    synchronizeStream = try find("cuStreamSynchronize")
    createEvent = try find("cuEventCreate")
    destroyEvent = try find("cuEventDestroy_v2")
    recordEvent = try find("cuEventRecord")
    waitForEvent = try find("cuStreamWaitEvent")
    synchronizeEvent = try find("cuEventSynchronize")
    beginCapture = try find("cuStreamBeginCapture_v2")
    endCapture = try find("cuStreamEndCapture")
    instantiateGraph = try find("cuGraphInstantiateWithFlags")
    launchGraph = try find("cuGraphLaunch")
    destroyGraph = try find("cuGraphDestroy")
    destroyExecutableGraph = try find("cuGraphExecDestroy")
    elapsedTime = try find("cuEventElapsedTime_v2")
    loadModule = try find("cuModuleLoadData")
    unloadModule = try find("cuModuleUnload")
    moduleFunction = try find("cuModuleGetFunction")
    setFunctionAttribute = try find("cuFuncSetAttribute")
    blocksOfMultiprocessor = try find("cuOccupancyMaxActiveBlocksPerMultiprocessor")
    launch = try find("cuLaunchKernelEx")
  }

  private struct Finder {
    let library: Handle

    func callAsFunction<Function>(_ name: String) throws(CUDAError) -> Function {
      guard let symbol = dlsym(library, name) else {
        throw CUDAError(
          .failedPrecondition, "NVIDIA's driver has no function \(name): it is too old or broken")
      }
      return unsafeBitCast(symbol, to: Function.self)
    }
  }
}
