// SPDX-License-Identifier: Apache-2.0
// Barriers in shared memory, copies that they count, and products of a warpgroup.
#include "blocks.h"
#include "wgmma_emulation.h"

#include <stddef.h>

#include <algorithm>
#include <vector>

namespace emulation {

unsigned current_block;

namespace {

/// As it lies in shared memory.
struct Barrier {
  uint32_t arrivals : 15, pending : 15, parity : 1, is_ready : 1;
  int32_t bytes;
};
static_assert(sizeof(Barrier) == sizeof(uint64_t), "a barrier is 8 bytes");

struct BulkCopy {
  void *to;
  const void *from;
  int bytes;
  uint64_t *barrier;
};

struct Products {
  std::vector<GroupProduct> waiting;
  /// Products of each group that was ended, and of the one that was not.
  std::vector<int> groups;
  int open = 0;
};

/// Who has copied to 16 bytes of the block's shared memory last, and how often that thread had
/// published its copies by then.
struct Copied {
  unsigned block = 0, publications = 0;
  int thread = 0;
};

unsigned blocks_begun;
/// Of all blocks' shared memory.
Copied copied[dynamic_shared_max * (together_max + early_max) / 16];
/// Of all blocks: barriers tell them apart.
std::vector<BulkCopy> bulk_copies;
Products products[fibers_max];
/// Behind the last thread that ever had products.
int products_end;

Copied &copied_at(const void *place) {
  return copied[((const char *)place - dynamic_memory) / 16];
}

bool is_own(const BulkCopy &copy) {
  const ptrdiff_t offset = (char *)copy.to - dynamic_shared;
  return offset >= 0 && offset < (ptrdiff_t)dynamic_shared_max;
}

/// Behind the last thread of the block that may have products.
int end_of_products() {
  const int end = first_thread + threads_of_block;
  return end < products_end ? end : products_end;
}

Barrier &ready(uint64_t *barrier) {
  Barrier &found = *(Barrier *)barrier;
  if (!found.is_ready) fail("a barrier in shared memory is not initialised");
  return found;
}

void turn(Barrier &barrier) {
  if (barrier.pending > 0 || barrier.bytes > 0) return;
  barrier.parity ^= 1;
  barrier.pending = barrier.arrivals;
}

void finish_copies(uint64_t *barrier) {
  size_t kept = 0;
  for (const BulkCopy &copy : bulk_copies) {
    if (copy.barrier != barrier) {
      bulk_copies[kept++] = copy;
      continue;
    }
    memcpy(copy.to, copy.from, (size_t)copy.bytes);
    ready(barrier).bytes -= copy.bytes;
    turn(ready(barrier));
  }
  bulk_copies.resize(kept);
}

}  // namespace

uint32_t shared_offset(const void *place) {
  const ptrdiff_t offset = (const char *)place - dynamic_shared;
  if (offset < 0 || offset >= (ptrdiff_t)dynamic_shared_max) fail("no place of shared memory");
  return (uint32_t)offset;
}

void init(uint64_t *barrier, int arrivals) {
  shared_offset(barrier);
  *(Barrier *)barrier = {(uint32_t)arrivals, (uint32_t)arrivals, 0, 1, 0};
}

void arrive(uint64_t *barrier, int bytes) {
  Barrier &found = ready(barrier);
  if (found.pending == 0) fail("more arrive at a barrier than it was made for");
  found.pending--;
  found.bytes += bytes;
  turn(found);
  note_progress();
}

void wait(uint64_t *barrier, uint32_t parity) {
  finish_copies(barrier);
  while (ready(barrier).parity == parity) {
    poll();
    finish_copies(barrier);
  }
  note_progress();
}

void copy(void *to, const void *from, int bytes, uint64_t *barrier) {
  const bool is_aligned = (((uintptr_t)to | (uintptr_t)from | (uintptr_t)bytes) & 15) == 0;
  if (!is_aligned) fail("a bulk copy is not of whole 16 bytes");
  shared_offset(to);
  shared_offset((char *)to + bytes - 1);
  memset(to, 0xff, (size_t)bytes);
  bulk_copies.push_back({to, from, bytes, barrier});
}

void queue(const GroupProduct &product) {
  products_end = thread < products_end ? products_end : thread + 1;
  products[thread].waiting.push_back(product);
  products[thread].open++;
}

void end_group() {
  Products &own = products[thread];
  own.groups.push_back(own.open);
  own.open = 0;
}

bool take_product(int count, GroupProduct *product) {
  Products &own = products[thread];
  while (own.groups.size() > (size_t)count && own.groups.front() == 0) {
    own.groups.erase(own.groups.begin());
  }
  if (own.groups.size() <= (size_t)count) return false;
  own.groups.front()--;
  *product = own.waiting.front();
  own.waiting.erase(own.waiting.begin());
  return true;
}

void note_copied(const void *place) {
  const ptrdiff_t offset = (const char *)place - dynamic_shared;
  if (offset < 0 || offset >= (ptrdiff_t)dynamic_shared_max) return;
  copied_at(place) = {current_block, copies[thread].publications, thread};
}

void read_by_product(const char *place) {
  shared_offset(place);
  const Copied &last = copied_at(place);
  const int end = first_thread + threads_of_block;
  if (last.block != current_block || last.thread < first_thread || last.thread >= end) return;
  if (copies[last.thread].publications == last.publications) {
    fail("a product reads what was copied and not published");
  }
}

void begin_block() {
  current_block = ++blocks_begun;
  const auto others = std::remove_if(bulk_copies.begin(), bulk_copies.end(), is_own);
  bulk_copies.erase(others, bulk_copies.end());
  for (int i = first_thread; i < end_of_products(); i++) {
    products[i].waiting.clear(), products[i].groups.clear();
    products[i].open = 0;
  }
}

const char *end_block() {
  if (std::any_of(bulk_copies.begin(), bulk_copies.end(), is_own)) {
    return "a bulk copy that nobody waits for";
  }
  for (int i = first_thread; i < end_of_products(); i++) {
    if (!products[i].waiting.empty()) return "products that nobody waits for";
  }
  return nullptr;
}

}  // namespace emulation
