// SPDX-License-Identifier: Apache-2.0
// The query rows of a block of attention: how they come in, and how their sums go out.
#pragma once
#include "attention_tile.h"

/// The query rows of a block: heads of tokens that follow each other in one sequence.
struct QueryRows {
  int first_row, tokens, key_head, first_head, heads;

  DEVICE_MEMBER int count() const { return tokens * heads; }
  DEVICE_MEMBER int row(int index) const {
    return tokens == 1 ? first_row : first_row + index / heads;
  }
  DEVICE_MEMBER int head(int index) const {
    return first_head + (tokens == 1 ? index : index % heads);
  }
};

/// Begins to copy the queries; rows that are not there become zeros.
template <int m>
DEVICE void fetch_queries(const cu_attention &op, const TilePlaces &places, const QueryRows &rows) {
  for (int i = thread_index() / 8; i < 16 * m; i += cu_threads / 8) {
    const bool is_there = i < rows.count();
    const int64_t heads = op.key_heads * op.heads_per_key;
    const int64_t place = is_there ? rows.row(i) * heads + rows.head(i) : 0;
    fetch_row(op.is_aligned, is_there, places.queries + i * places.key_stride,
              op.queries + place * op.query_stride, op.key_width,
              places.key_stride - cu_bank_columns);
  }
}

/// Two columns of a row's output.
DEVICE void store_output(const cu_attention &op, int row, int head, int column, float first,
                         float second) {
  if (column >= op.value_width) return;
  const int place = head * op.value_width + column;
  if (op.is_aligned && !op.output.floats) {
    *(uint32_t *)(op.output.narrow + row * op.output.stride + place) =
      bf16_pair(first, second);
    return;
  }
  put(op.output, row, place, first);
  if (column + 1 < op.value_width) put(op.output, row, place + 1, second);
}

DEVICE void store_log(const cu_attention &op, int row, int head, const Scores &scores) {
  if (op.log_sum_exp) op.log_sum_exp[row * op.log_stride + head] = log_sum_exp(scores);
}

/// Columns of a part's sums.
DEVICE int part_width(const cu_attention &op) { return padded(op.value_width, cu_value_padding); }

DEVICE int64_t part_index(const cu_attention &op, int row, int head, int part) {
  const int heads = op.key_heads * op.heads_per_key;
  return ((int64_t)(row - op.first_row) * heads + head) * op.part_room + part;
}

/// Sums of values: of a warp's columns, for all query rows of the block.
template <int m, int chunks> struct Sums {
  float values[m][chunks][2][4] = {};

  /// Adds `others`, of which each row has its own factors.
  DEVICE_MEMBER void add(const Sums &others, const Fold (&factors)[16 * m]) {
    UNROLL for (int i = 0; i < 2 * m; i++) {
      const Fold factor = factors[row(i)];
      UNROLL for (int c = 0; c < chunks; c++) UNROLL for (int j = 0; j < 4; j++) {
        float &value = values[i / 2][c][j / 2][i % 2 * 2 + j % 2];
        value = folded(value, others.values[i / 2][c][j / 2][i % 2 * 2 + j % 2], factor);
      }
    }
  }

  /// Writes the rows' outputs, or sums and scores of a part.
  DEVICE_MEMBER void store(const cu_attention &op, const QueryRows &rows, int part,
                           const Scores (&scores)[16 * m]) const {
    UNROLL for (int i = 0; i < 2 * m; i++) {
      if (row(i) >= rows.count()) continue;
      const int token = rows.row(row(i)), head = rows.head(row(i));
      if (op.parts == cu_key_parts_all) {
        store_row(op, token, head, scores[row(i)], i);
      } else {
        store_part(op, part_index(op, token, head, part), scores[row(i)], i);
      }
    }
  }

  /// The block's row that the thread has the `i`-th of; below, `i` is that number.
  DEVICE_MEMBER static int row(int i) {
    return i / 2 * 16 + i % 2 * 8 + thread_index() % 32 / 4;
  }

  DEVICE_MEMBER void store_row(const cu_attention &op, int token, int head, const Scores &scores,
                               int i) const {
    const float factor = inverse_sum(scores);
    UNROLL for (int c = 0; c < chunks; c++) UNROLL for (int n = 0; n < 2; n++) {
      const float *pair = values[i / 2][c][n] + i % 2 * 2;
      store_output(op, token, head, column(c, n), pair[0] * factor, pair[1] * factor);
    }
    if (is_first()) store_log(op, token, head, scores);
  }

  DEVICE_MEMBER void store_part(const cu_attention &op, int64_t place, const Scores &scores,
                                int i) const {
    float *sums = op.part_sums + place * part_width(op);
    UNROLL for (int c = 0; c < chunks; c++) UNROLL for (int n = 0; n < 2; n++) {
      const float *pair = values[i / 2][c][n] + i % 2 * 2;
      if (column(c, n) < part_width(op)) *(Float2 *)(sums + column(c, n)) = {pair[0], pair[1]};
    }
    if (is_first()) *(Float2 *)(op.part_scores + place * 2) = {scores.largest, scores.sum};
  }

  /// What `store_part` has written.
  DEVICE_MEMBER void load_part(const cu_attention &op, int64_t place, int i) {
    const float *sums = op.part_sums + place * part_width(op);
    UNROLL for (int c = 0; c < chunks; c++) UNROLL for (int n = 0; n < 2; n++) {
      if (column(c, n) >= part_width(op)) continue;
      const Float2 pair = *(const Float2 *)(sums + column(c, n));
      float *own = values[i / 2][c][n] + i % 2 * 2;
      own[0] = pair.x, own[1] = pair.y;
    }
  }

private:
  DEVICE_MEMBER static int column(int chunk, int n) {
    return first_column(chunk) + 8 * n + thread_index() % 4 * 2;
  }
  /// Of the threads that have some of a row, one.
  DEVICE_MEMBER static bool is_first() { return thread_index() < 32 && thread_index() % 4 == 0; }
};
