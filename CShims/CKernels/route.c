// SPDX-License-Identifier: Apache-2.0
// Mixture of experts: who computes what.
#include "kernels.h"

#include <math.h>
#include <stddef.h>

static void score(const ck_route *r, const float *logits, float *scores) {
  if (r->sigmoid) {
    for (int64_t e = 0; e < r->experts; e++) scores[e] = 1 / (1 + expf(-logits[e]));
    return;
  }
  float largest = logits[0], sum = 0;
  for (int64_t e = 1; e < r->experts; e++) largest = logits[e] > largest ? logits[e] : largest;
  for (int64_t e = 0; e < r->experts; e++) sum += scores[e] = expf(logits[e] - largest);
  for (int64_t e = 0; e < r->experts; e++) scores[e] /= sum;
}

/// The index of the largest value that is not taken, the lowest of equal ones; never one beyond.
static int64_t largest_left(const float *values, const float *taken, int64_t count) {
  int64_t best = -1;
  for (int64_t i = 0; i < count; i++)
    if (taken[i] == 0 && (best < 0 || values[i] > values[best])) best = i;
  return best < 0 ? 0 : best;
}

static float group_score(const ck_route *r, const float *members, int64_t size) {
  float first = -INFINITY, second = -INFINITY;
  for (int64_t i = 0; i < size; i++) {
    if (members[i] > first) {
      second = first;
      first = members[i];
    } else if (members[i] > second) {
      second = members[i];
    }
  }
  return r->group_by_two_largest && size > 1 ? first + second : first;
}

/// Experts of all but the best groups leave: see `Route` for what they count as.
static void drop_groups(
    const ck_route *r, float *scores, float *candidates, float *group_scores, float *kept) {
  const int64_t size = r->experts / r->groups;
  for (int64_t g = 0; g < r->groups; g++) {
    group_scores[g] = group_score(r, candidates + g * size, size);
    kept[g] = 0;
  }
  for (int64_t i = 0; i < r->kept_groups; i++)
    kept[largest_left(group_scores, kept, r->groups)] = 1;
  for (int64_t e = 0; e < r->experts; e++)
    if (kept[e / size] == 0) {
      candidates[e] = r->group_by_two_largest ? -INFINITY : 0;
      scores[e] = 0;
    }
}

/// Scratch: 5 × experts floats.
void ck_run_route(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  const ck_route *r = arguments;
  float *scores = worker->scratch, *candidates = scores + r->experts;
  float *taken = candidates + r->experts, *groups = taken + r->experts;
  for (int64_t row; (row = ck_claim(worker)) < *r->rows;) {
    score(r, r->logits + row * r->experts, scores);
    for (int64_t e = 0; e < r->experts; e++) {
      candidates[e] = r->bias ? scores[e] + r->bias[e] : scores[e];
      taken[e] = 0;
    }
    if (r->groups > 0) drop_groups(r, scores, candidates, groups, groups + r->experts);
    ck_choice *choices = r->choices + row * r->top_k;
    float sum = 0;
    for (int64_t k = 0; k < r->top_k; k++) {
      const int64_t best = largest_left(candidates, taken, r->experts);
      taken[best] = 1;
      choices[k].expert = (int32_t)best;
      sum += scores[best];
    }
    const float factor = r->normalize ? r->scale / (sum + 1e-20f) : r->scale;
    for (int64_t k = 0; k < r->top_k; k++) choices[k].weight = scores[choices[k].expert] * factor;
  }
}

/// A counting sort, which keeps rows in order. Worker 0 alone: it is quick.
void ck_run_group(const void *arguments, const ck_step *step, ck_worker *worker) {
  (void)step;
  if (worker->index != 0) return;
  const ck_group *g = arguments;
  const int64_t slots = *g->rows * g->top_k;
  for (int64_t e = 0; e < g->experts; e++) g->counts[e] = 0;
  for (int64_t s = 0; s < slots; s++) g->counts[g->choices[s].expert]++;
  int64_t start = 0;
  for (int64_t e = 0; e < g->experts; e++) {
    ck_gemm *products[3] = {&g->gate_up[2 * e], &g->gate_up[2 * e + 1], &g->down[e]};
    for (int i = 0; i < 3; i++) {
      products[i]->input_rows = (i < 2 ? g->slot_rows : g->slots) + start;
      products[i]->output_rows = g->slots + start;
    }
    start += g->counts[e];
    g->counts[e] = 0;
  }
  for (int64_t s = 0; s < slots; s++) {
    const int32_t expert = g->choices[s].expert;
    const int64_t place = g->down[expert].input_rows - g->slots + g->counts[expert]++;
    g->slots[place] = (int32_t)s;
    g->slot_rows[place] = (int32_t)(s / g->top_k);
  }
}
