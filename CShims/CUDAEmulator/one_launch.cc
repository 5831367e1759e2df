// SPDX-License-Identifier: Apache-2.0
// The kernels that are a whole step, compiled for a processor.
#include "../CUDAKernels/one_launch.cu"
