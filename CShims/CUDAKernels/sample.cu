// SPDX-License-Identifier: Apache-2.0
// A column drawn at random from each row of scores `[rows, width]`, the same that the host draws
// (`Sources/Sampling`), bit for bit.
//   weight[c] = exp((score[c] - peak) * scale), a whole number of 2^-40
// Columns are sorted by falling score and rising index. Of these are kept: the first top_k; of them
// the first that weigh top_p of their sum together; less those of less than min_p, and those that
// weigh nothing. Drawn is the first kept column, by index, up to which more than `random` of the
// sum of what is kept lies. All sums are of whole numbers: their order does not matter.
//   largest_of_rows  (rows.cu) the peak, and whether all scores are finite
//   (what is done to scores before, and the peak of these: adjust.cu)
//   sample_weigh     counts and weights by distance from the peak, in 1,024 buckets
//   sample_gather    the sort keys of the columns in the bucket where the cut is; where top_k and
//                    top_p cut, also of those before it
//   sample_cut       the last sort key that is kept, by digits of 8 bits, from those keys; from the
//                    whole row where there are more than 8,192
//   sample_sum       what is kept of each 2,048 columns
//   sample_pick      the column
// The three in the middle are for rows with top_k or top_p. Blocks of `cu_threads`; a grid is parts
// of a row's columns and rows, or rows.
// Ladder: (1) this. Not yet measured on a GPU.
#include "ring.h"
#include "sample.h"

/// A number to which threads of a block add together. Its words are added apart, since shared
/// memory adds no more at once.
struct SharedSum {
  uint32_t low, high;

  DEVICE_MEMBER void add(uint64_t value) {
    const uint32_t before = add_together(&low, (uint32_t)value);
    const uint32_t rest = (uint32_t)(value >> 32) + (before + (uint32_t)value < before);
    if (rest) add_together(&high, rest);
  }
  DEVICE_MEMBER uint64_t value() const { return (uint64_t)high << 32 | low; }
};
/// What some columns weigh together.
struct SharedBucket {
  SharedSum weight;
  uint32_t count;
};

// Grid: parts of a row's columns; rows.
KERNEL(sample_weigh, cu_sample, cu_threads) {
  SHARED SharedBucket buckets[cu_buckets];
  const Row row(op, block_y());
  if (!row.cuts) return;
  for (int i = thread_index(); i < cu_buckets; i += cu_threads) buckets[i] = {{0, 0}, 0};
  sync_block();
  const int begin = block_x() * cu_sample_columns;
  const int end = begin + cu_sample_columns < op.width ? begin + cu_sample_columns : op.width;
  for (int column = begin + thread_index(); column < end; column += cu_threads) {
    const float logarithm = row.logarithm(row.scores[column]);
    const uint64_t units = units_of(weight_of(logarithm));
    if (!units) continue;
    SharedBucket &bucket = buckets[bucket_of(logarithm)];
    add_together(&bucket.count, 1);
    bucket.weight.add(units);
  }
  sync_block();
  cu_bucket *all = op.buckets + block_y() * cu_buckets;
  for (int i = thread_index(); i < cu_buckets; i += cu_threads) {
    if (!buckets[i].count) continue;
    add_together(&all[i].count, buckets[i].count);
    add_together(&all[i].weight, buckets[i].weight.value());
  }
}

/// Sums over a row's buckets: of all, and of those before this thread's four.
struct BucketSums {
  static constexpr int own = cu_buckets / cu_threads;
  struct Found {
    int bucket;
    uint64_t count_before, weight_before;
  };
  const cu_bucket *buckets;
  uint64_t count_before, weight_before, count, weight;

  DEVICE_MEMBER BucketSums(const cu_bucket *row, uint64_t (&scratch)[cu_threads / 32]) {
    buckets = row + thread_index() * own;
    uint64_t own_count = 0, own_weight = 0;
    UNROLL for (int i = 0; i < own; i++) {
      own_count += buckets[i].count;
      own_weight += buckets[i].weight;
    }
    count_before = sum_before(own_count, scratch, count);
    weight_before = sum_before(own_weight, scratch, weight);
  }

  /// The bucket with which a count or a weight is reached, which all have together. `found` is
  /// shared.
  DEVICE_MEMBER void find(bool by_count, uint64_t target, Found &found) const {
    uint64_t counts = count_before, weights = weight_before;
    sync_block();
    UNROLL for (int i = 0; i < own; i++) {
      const uint64_t before = by_count ? counts : weights;
      const uint64_t with = before + (by_count ? buckets[i].count : buckets[i].weight);
      if (before < target && target <= with) {
        found = {thread_index() * own + i, counts, weights};
      }
      counts += buckets[i].count;
      weights += buckets[i].weight;
    }
    sync_block();
  }
};

/// What is to be reached of a weight: at least something, so that something is kept.
DEVICE uint64_t part_of(uint64_t weight, uint64_t top_p) {
  const uint64_t part = high_product(weight, top_p);
  return part ? part : 1;
}

// Grid: parts of a row's columns; rows.
KERNEL(sample_gather, cu_sample, cu_threads) {
  SHARED uint64_t scratch[cu_threads / 32];
  SHARED BucketSums::Found found;
  const Row row(op, block_y());
  if (!row.cuts) return;
  const cu_draw &draw = op.draws[block_y()];
  const BucketSums sums(op.buckets + block_y() * cu_buckets, scratch);
  const bool by_count = draw.top_k > 0 && (uint64_t)draw.top_k < sums.count;
  const bool by_weight = ~draw.top_p != 0;
  if (!by_count && !by_weight) return;
  sums.find(by_count, by_count ? draw.top_k : part_of(sums.weight, draw.top_p), found);
  const int last = found.bucket, first = by_count && by_weight ? 0 : last;
  const int begin = block_x() * cu_sample_columns, lane = thread_index() % 32;
  for (int i = thread_index(); i < cu_sample_columns; i += cu_threads) {
    const int column = begin + i;
    const float score = column < op.width ? row.scores[column] : row.peak;
    const float logarithm = row.logarithm(score);
    const int bucket = bucket_of(logarithm);
    const bool is_one = column < op.width && bucket >= first && bucket <= last
      && units_of(weight_of(logarithm));
    const uint32_t lanes = vote(is_one);
    if (!lanes) continue;
    uint32_t place = 0;
    if (lane == 0) place = add_together(op.candidate_counts + block_y(), count_bits(lanes));
    place = largest_of_warp(place) + count_bits(lanes & ((1u << lane) - 1));
    if (is_one && place < cu_candidates_max) {
      op.candidates[(int64_t)block_y() * cu_candidates_max + place] = sort_key(score, column);
    }
  }
}

/// Columns of one bucket among those that were gathered, or among all of the row.
struct Candidates {
  const Row &row;
  /// null: they are too many.
  const uint64_t *keys;
  int count, bucket;

  /// The units of candidate i, and its key; 0 if it is of another bucket.
  DEVICE_MEMBER uint64_t units(int i, uint64_t &key) const {
    key = keys ? keys[i] : sort_key(row.scores[i], i);
    const float logarithm = row.logarithm(score_of(key));
    return bucket_of(logarithm) == bucket ? units_of(weight_of(logarithm)) : 0;
  }
};

/// What a block that looks for a cut shares.
struct CutScratch {
  SharedBucket digits[256];
  uint64_t sums[cu_threads / 32];
  struct { uint64_t digit, before, count; } found;
};

/// The sort key of the first candidate with which they have a count or weigh something together.
/// All candidates are enough for it.
DEVICE uint64_t cut_of(const Candidates &all, bool by_count, uint64_t target, CutScratch &shared) {
  uint64_t largest = 0, smallest = ~largest;
  for (int i = thread_index(); i < all.count; i += cu_threads) {
    uint64_t key;
    if (!all.units(i, key)) continue;
    if (key > largest) largest = key;
    if (key < smallest) smallest = key;
  }
  largest = largest_of_block(largest, shared.sums);
  smallest = ~largest_of_block(~smallest, shared.sums);
  // Those in which they differ.
  int bits = 64 - leading_zeros(largest ^ smallest);
  uint64_t known = bits < 64 ? largest >> bits : 0, count = 2;
  while (bits > 0 && count > 1) {
    const int shift = bits > 8 ? bits - 8 : 0;
    shared.digits[thread_index()] = {{0, 0}, 0};
    sync_block();
    for (int i = thread_index(); i < all.count; i += cu_threads) {
      uint64_t key;
      const uint64_t units = all.units(i, key);
      if (!units || (bits < 64 && key >> bits != known)) continue;
      SharedBucket &digit = shared.digits[key >> shift & ((1u << (bits - shift)) - 1)];
      digit.weight.add(units);
      add_together(&digit.count, 1);
    }
    sync_block();
    const SharedBucket own = shared.digits[thread_index()];
    const uint64_t value = by_count ? own.count : own.weight.value();
    uint64_t total;
    const uint64_t before = sum_before(value, shared.sums, total);
    if (before < target && target <= before + value) {
      shared.found = {(uint64_t)thread_index(), before, own.count};
    }
    sync_block();
    known = known << (bits - shift) | shared.found.digit;
    target -= shared.found.before;
    count = shared.found.count;
    bits = shift;
  }
  if (bits == 0) return known;
  // The only one that begins so.
  uint64_t last = 0;
  for (int i = thread_index(); i < all.count; i += cu_threads) {
    uint64_t key;
    if (all.units(i, key) && key >> bits == known) last = key;
  }
  return largest_of_block(last, shared.sums);
}

/// What candidates up to a sort key weigh together.
DEVICE uint64_t weight_up_to(const Candidates &all, uint64_t last, CutScratch &shared) {
  uint64_t weight = 0, total;
  for (int i = thread_index(); i < all.count; i += cu_threads) {
    uint64_t key;
    const uint64_t units = all.units(i, key);
    if (key <= last) weight += units;
  }
  sum_before(weight, shared.sums, total);
  return total;
}

// Grid: rows.
KERNEL(sample_cut, cu_sample, cu_threads) {
  SHARED CutScratch shared;
  SHARED BucketSums::Found found;
  const Row row(op, block_x());
  if (!row.cuts) return;
  const cu_draw &draw = op.draws[block_x()];
  const BucketSums sums(op.buckets + block_x() * cu_buckets, shared.sums);
  const uint32_t count = op.candidate_counts[block_x()];
  const bool fits = count <= cu_candidates_max;
  Candidates all = {
    row, fits ? op.candidates + (int64_t)block_x() * cu_candidates_max : nullptr,
    fits ? (int)count : op.width, 0};
  uint64_t last = ~(uint64_t)0, weight = sums.weight;
  if (draw.top_k > 0 && (uint64_t)draw.top_k < sums.count) {
    sums.find(true, draw.top_k, found);
    all.bucket = found.bucket;
    last = cut_of(all, true, draw.top_k - found.count_before, shared);
    weight = found.weight_before + weight_up_to(all, last, shared);
  }
  if (~draw.top_p) {
    const uint64_t part = part_of(weight, draw.top_p);
    sums.find(false, part, found);
    all.bucket = found.bucket;
    last = cut_of(all, false, part - found.weight_before, shared);
  }
  if (thread_index() == 0) op.cuts[block_x()] = last;
}

/// The units of a column, none of one that is not kept.
DEVICE uint64_t kept_units(const Row &row, int column, uint64_t last, float min_p) {
  const float weight = weight_of(row.logarithm(row.scores[column]));
  return weight >= min_p && sort_key(row.scores[column], column) <= last ? units_of(weight) : 0;
}

// Grid: parts of a row's columns; rows.
KERNEL(sample_sum, cu_sample, cu_threads) {
  SHARED uint64_t scratch[cu_threads / 32];
  const Row row(op, block_y());
  if (!row.is_drawn) return;
  const uint64_t last = row.cuts ? op.cuts[block_y()] : ~(uint64_t)0;
  const int begin = block_x() * cu_sample_columns;
  const int end = begin + cu_sample_columns < op.width ? begin + cu_sample_columns : op.width;
  uint64_t sum = 0, total;
  for (int column = begin + thread_index(); column < end; column += cu_threads) {
    sum += kept_units(row, column, last, op.draws[block_y()].min_p);
  }
  sum_before(sum, scratch, total);
  if (thread_index() == 0) op.part_sums[(int64_t)block_y() * op.parts + block_x()] = total;
}

DEVICE void pick(const cu_sample &op) {
  SHARED uint64_t scratch[cu_threads / 32];
  SHARED int part;
  SHARED uint64_t rest;
  const Row row(op, block_x());
  if (!row.is_drawn) return;
  const cu_draw &draw = op.draws[block_x()];
  const uint64_t last = row.cuts ? op.cuts[block_x()] : ~(uint64_t)0;
  const uint64_t *sums = op.part_sums + (int64_t)block_x() * op.parts;
  const int each = (op.parts + cu_threads - 1) / cu_threads, first = thread_index() * each;
  uint64_t own = 0, total;
  for (int i = first; i < first + each && i < op.parts; i++) own += sums[i];
  uint64_t before = sum_before(own, scratch, total);
  const uint64_t target = high_product(total, draw.random);
  if (before <= target && target < before + own) {
    int i = first;
    for (; target >= before + sums[i]; i++) before += sums[i];
    part = i, rest = target - before;
  }
  sync_block();
  constexpr int columns = cu_sample_columns / cu_threads;
  const int begin = part * cu_sample_columns + thread_index() * columns;
  uint64_t units[columns];
  own = 0;
  UNROLL for (int i = 0; i < columns; i++) {
    units[i] = begin + i < op.width ? kept_units(row, begin + i, last, draw.min_p) : 0;
    own += units[i];
  }
  before = sum_before(own, scratch, total);
  UNROLL for (int i = 0; i < columns; i++) {
    if (before <= rest && rest < before + units[i]) {
      op.keys[block_x()] = (op.keys[block_x()] | 0xffffffffu) - (uint32_t)(begin + i);
    }
    before += units[i];
  }
}

// Grid: rows.
KERNEL(sample_pick, cu_sample, cu_threads) {
  pick(op);
  hand_over(op.drawn);
}
