// SPDX-License-Identifier: Apache-2.0
// What a GPU has room for, by its compute capability (CUDA's programming guide, "Technical
// Specifications per Compute Capability"; residency as its `cuda_occupancy.h` counts), and what
// the driver says of a launch for which there is none. What a kernel takes is what nvcc reported.
#include "driver_state.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <string>

namespace emulation {

namespace {

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wc23-extensions"
constexpr char report[] = {
#embed "../CUDAKernels/resources.txt"
  , 0};
#pragma clang diagnostic pop

constexpr int threads_of_block_max = 1024, registers = 65536;
/// Of a multiprocessor's four parts each has a quarter of the registers and warps of its own.
constexpr int parts = 4;
/// What nvcc takes for a kernel that has no body for a target.
constexpr int registers_of_nothing = 4;
constexpr unsigned grid_x_max = 0x7fffffff, grid_yz_max = 65535;

struct Limits {
  /// From this compute capability on.
  int capability;
  size_t shared_of_block, shared_of_multiprocessor;
  int threads, blocks;
};
constexpr Limits all_limits[] = {
  {120, 99 << 10, 100 << 10, 1536, 24}, {90, 227 << 10, 228 << 10, 2048, 32},
  {89, 99 << 10, 100 << 10, 1536, 24},  {87, 163 << 10, 164 << 10, 1536, 16},
  {86, 99 << 10, 100 << 10, 1536, 16},  {0, 163 << 10, 164 << 10, 2048, 32},
};

const Limits &limits_of(int device) {
  const int capability = capability_of(device);
  return *std::find_if(std::begin(all_limits), std::end(all_limits),
                       [=](const Limits &limits) { return capability >= limits.capability; });
}

/// Machine code for 9.0 is for no other; all others run or compile that for 8.0.
const char *target_of(int device) { return capability_of(device) == 90 ? "sm_90a" : "sm_80"; }

std::map<std::string, Resources> read_report() {
  std::map<std::string, Resources> all;
  char kernel[128], target[16];
  Resources found;
  for (const char *line = strchr(report, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
    const int count = sscanf(line + 1, "%127s %15s %d %zu", kernel, target, &found.registers,
                             &found.shared);
    if (count == 4) all[std::string(kernel) + " " + target] = found;
  }
  return all;
}

size_t rounded(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }
int registers_of_warp(const Resources &resources) {
  return (int)rounded((size_t)resources.registers * 32, 256);
}
int warps_of(unsigned threads) { return (int)((threads + 31) / 32); }
/// What the GPU looks at when a block is to begin: as if all parts had as many of its warps.
int registers_of_block(const Resources &resources, unsigned threads) {
  return registers_of_warp(resources) * (int)rounded((size_t)warps_of(threads), parts);
}

}  // namespace

int capability_of(int device) {
  return (int)setting("SILICA_EMULATED_CAPABILITY", device % 2 == 0 ? 90 : 80);
}

size_t shared_max_of(int device) { return limits_of(device).shared_of_block; }

const Resources *resources_of(const Kernel &kernel, int device) {
  static const std::map<std::string, Resources> all = read_report();
  const auto found = all.find(std::string(kernel.name) + " " + target_of(device));
  return found == all.end() ? nullptr : &found->second;
}

int resident_blocks(const Function &function, unsigned threads, size_t shared) {
  const Resources &resources = function.resources;
  const Limits &limits = limits_of(function.module->context->device);
  if (threads == 0 || shared > function.shared_max) return 0;
  if (registers_of_block(resources, threads) > registers) return 0;
  // The driver keeps 1 KiB of each block's for itself.
  const size_t shared_of_block = rounded(resources.shared + shared + 1024, 128);
  const int warps_of_part = registers / parts / registers_of_warp(resources);
  const int warps = std::min(limits.threads / 32, warps_of_part * parts);
  const int blocks = std::min(limits.blocks, warps / warps_of(threads));
  return std::min(blocks, (int)(limits.shared_of_multiprocessor / shared_of_block));
}

Code check_launch(const Function &function, const LaunchShape &shape) {
  const char *name = function.kernel->name;
  const Resources &resources = function.resources;
  const auto no = [&](Code code, const char *what, unsigned long is, unsigned long most) {
    return refuse(code, "kernel %s: %s: %lu, and at most %lu", name, what, is, most);
  };
  if (shape.x == 0 || shape.y == 0 || shape.z == 0) {
    return refuse(invalid_value, "kernel %s: no blocks", name);
  }
  if (shape.x > grid_x_max) return no(invalid_value, "blocks in x", shape.x, grid_x_max);
  if (shape.y > grid_yz_max) return no(invalid_value, "blocks in y", shape.y, grid_yz_max);
  if (shape.z > grid_yz_max) return no(invalid_value, "blocks in z", shape.z, grid_yz_max);
  const bool is_row = shape.threads_y == 1 && shape.threads_z == 1 && shape.threads % 32 == 0;
  if (!is_row || shape.threads == 0) {
    return refuse(invalid_value, "kernel %s: threads that are not whole warps in a row", name);
  }
  const auto most = (unsigned)std::min(function.kernel->threads, threads_of_block_max);
  if (shape.threads > most) return no(invalid_value, "threads", shape.threads, most);
  if (shape.shared > function.shared_max) {
    return no(invalid_value, "bytes of shared memory beside what it declares", shape.shared,
              function.shared_max);
  }
  const int taken = registers_of_block(resources, shape.threads);
  if (taken > registers) return no(out_of_resources, "registers", (unsigned)taken, registers);
  if (resources.registers <= registers_of_nothing) {
    return refuse(invalid_value, "kernel %s: is empty for compute capability %d", name,
                  capability_of(function.module->context->device));
  }
  if (shape.is_early && capability_of(function.module->context->device) < 90) {
    return refuse(not_supported, "kernel %s: begins early on a GPU that knows no such thing", name);
  }
  const auto together =
      (unsigned long)resident_blocks(function, shape.threads, shape.shared) * multiprocessors;
  const unsigned long blocks = (unsigned long)shape.x * shape.y * shape.z;
  if (shape.is_together && blocks > together) {
    return no(too_large_together, "blocks together", blocks, together);
  }
  return success;
}

}  // namespace emulation
