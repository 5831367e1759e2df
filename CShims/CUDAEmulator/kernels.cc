// SPDX-License-Identifier: Apache-2.0
// All kernels, compiled for a processor.
#include "../CUDAKernels/all.cu"
