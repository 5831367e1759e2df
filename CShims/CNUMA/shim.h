// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <numa.h>
#include <numaif.h>
