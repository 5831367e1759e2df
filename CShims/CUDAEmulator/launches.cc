// SPDX-License-Identifier: Apache-2.0
// Modules, functions and launches of the emulated driver.
#include "driver_state.h"

#include <string.h>

#include <algorithm>

using namespace emulation;

namespace {

std::map<const void *, std::shared_ptr<Module>> modules;
std::map<const void *, std::unique_ptr<Function>> functions;

/// Of a module that is loaded.
Function *function_of(const void *handle) {
  auto found = functions.find(handle);
  return found == functions.end() ? nullptr : found->second.get();
}

void unload(const std::shared_ptr<Module> &module) {
  module->is_loaded = false;
  for (auto function = functions.begin(); function != functions.end();) {
    function = function->second->module == module ? functions.erase(function) : ++function;
  }
}

/// A launch's shape and stream as the driver lays them out (`CUlaunchConfig`), and attributes: of
/// those 2 counts here, "together", and 6, "may begin before the kernel in front is done".
struct LaunchAttribute { int id, unused; int32_t value, rest[15]; };
struct LaunchConfiguration {
  unsigned x, y, z, threads, threads_y, threads_z, shared;
  const void *stream;
  const LaunchAttribute *attributes;
  unsigned attribute_count;
};

/// False if an attribute is none that is known here.
bool read_shape(const LaunchConfiguration &launch, LaunchShape *shape) {
  *shape = {launch.x, launch.y, launch.z, launch.threads, launch.threads_y, launch.threads_z,
            launch.shared, false, false};
  for (unsigned i = 0; i < launch.attribute_count; i++) {
    const LaunchAttribute &attribute = launch.attributes[i];
    if (attribute.id != 2 && attribute.id != 6) return false;
    (attribute.id == 2 ? shape->is_together : shape->is_early) = attribute.value != 0;
  }
  return true;
}

/// What only our own kernels are held to.
Code check_kind(const Function &function, const LaunchShape &shape, const Stream &stream) {
  const emulation::Kernel &kernel = *function.kernel;
  if (shape.is_together != kernel.is_together) {
    return refuse(invalid_value, "kernel %s: %s together", kernel.name,
                  kernel.is_together ? "must run" : "is not made to run");
  }
  const bool must_wait = kernel.is_first || stream.ends_with_first;
  if (!shape.is_early || !must_wait || stream.capture) return success;
  return refuse(invalid_value,
                "kernel %s may begin before what all read without waiting is there", kernel.name);
}

}  // namespace

void emulation::end_modules(const Context *context) {
  for (auto module = modules.begin(); module != modules.end();) {
    if (module->second->context == context) {
      unload(module->second);
      module = modules.erase(module);
    } else {
      ++module;
    }
  }
}

extern "C" {

int cuModuleLoadData(void **module, const void *image) {
  IN_CONTEXT;
  NOT_IN_CAPTURE("cuModuleLoadData");
  static const char begin[] = "silica: kernels of the emulated GPU";
  if (strncmp((const char *)image, begin, sizeof begin - 1) != 0) return invalid_image;
  auto made = std::make_shared<Module>();
  made->context = current;
  *module = made.get();
  modules[*module] = made;
  return success;
}

int cuModuleUnload(void *module) {
  ALONE;
  if (Code no = lacks_context()) return no;
  NOT_IN_CAPTURE("cuModuleUnload");
  auto found = modules.find(module);
  if (found == modules.end()) return refuse(invalid_handle, "no such module is loaded");
  unload(found->second);
  modules.erase(found);
  return success;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  IN_CONTEXT;
  auto found = modules.find(module);
  if (found == modules.end()) return refuse(invalid_handle, "no such module is loaded");
  const emulation::Kernel *kernel = emulation::kernel_named(name);
  if (!kernel) return not_found;
  // It is one function however often it is asked for, and so are its attributes.
  for (const auto &known : functions) {
    if (known.second->kernel != kernel || known.second->module != found->second) continue;
    *function = known.second.get();
    return success;
  }
  const int device = found->second->context->device;
  const Resources *resources = resources_of(*kernel, device);
  if (!resources) {
    return refuse(not_found, "kernel %s is not compiled for compute capability %d", name,
                  capability_of(device));
  }
  auto made = std::make_unique<Function>();
  *made = {kernel, found->second, *resources,
           shared_by_default - std::min(shared_by_default, resources->shared)};
  *function = made.get();
  functions[*function] = std::move(made);
  return success;
}

int cuFuncSetAttribute(void *handle, int attribute, int value) {
  IN_CONTEXT;
  Function *function = function_of(handle);
  if (!function) return refuse(invalid_handle, "no such function");
  const size_t most = shared_max_of(function->module->context->device);
  const size_t all = function->resources.shared + (size_t)value;
  if (attribute != 8 || value < 0) return invalid_value;
  if (all > most) {
    return refuse(invalid_value, "kernel %s: %zu bytes of shared memory, and at most %zu",
                  function->kernel->name, all, most);
  }
  function->shared_max = (size_t)value;
  return success;
}

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *handle, int threads,
                                                size_t shared) {
  IN_CONTEXT;
  const Function *function = function_of(handle);
  if (!function) return refuse(invalid_handle, "no such function");
  if (threads <= 0) return invalid_value;
  *blocks = resident_blocks(*function, (unsigned)threads, shared);
  return success;
}

int cuLaunchKernelEx(const LaunchConfiguration *launch, void *handle, void **parameters, void **) {
  IN_CONTEXT;
  const Function *function = function_of(handle);
  Stream *stream = stream_of(launch->stream);
  if (!function || !stream) return refuse(invalid_handle, "no such function, or no such stream");
  const emulation::Kernel &kernel = *function->kernel;
  if (function->module->context != stream->context) {
    return refuse(invalid_handle, "kernel %s is of another context than the stream", kernel.name);
  }
  LaunchShape shape;
  if (!read_shape(*launch, &shape)) return invalid_value;
  if (Code code = check_launch(*function, shape)) return code;
  if (Code code = check_kind(*function, shape, *stream)) return code;
  Operation operation = {};
  operation.kind = Operation::launch;
  operation.kernel = &kernel;
  operation.module = function->module;
  operation.argument.assign((char *)parameters[0],
                            (char *)parameters[0] + kernel.argument_bytes);
  operation.grid = {(int)shape.x, (int)shape.y, (int)shape.z};
  operation.threads = (int)shape.threads;
  operation.shared = shape.shared;
  operation.is_early = shape.is_early;
  if (has_host_address(operation.argument)) {
    return refuse(invalid_value, "kernel %s: an address of the host's in its argument",
                  kernel.name);
  }
  operation.addresses = usable_addresses(operation.argument);
  return put(stream, std::move(operation));
}

}  // extern "C"
