// SPDX-License-Identifier: Apache-2.0
// Nothing is called by name: the library is opened as NVIDIA's driver is (see the README).
#pragma once
