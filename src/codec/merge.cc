#include "codec/merge.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/isa.h"

namespace kvkeep {
namespace {

float squared_norm(std::span<const float> x) {
  return kernels().dot(x.data(), x.data(), static_cast<int>(x.size()));
}

// 1 / |key| of every row; 0 for a zero key, which is then like no other.
std::vector<float> inverse_norms(const MergeRows& rows) {
  std::vector<float> norms(rows.size());
  for (size_t i = 0; i < norms.size(); ++i) {
    const float square = squared_norm(rows.key(i));
    norms[i] = square > 0.0f ? 1.0f / std::sqrt(square) : 0.0f;
  }
  return norms;
}

float cosine(const MergeRows& rows, const std::vector<float>& inverse, size_t a, size_t b) {
  return kernels().dot(rows.key(a).data(), rows.key(b).data(), rows.dim) * inverse[a] * inverse[b];
}

MergeChoice nothing_merged(size_t rows) {
  MergeChoice choice{std::vector<size_t>(rows), std::vector<float>(rows, 1.0f)};
  std::iota(choice.into.begin(), choice.into.end(), size_t{0});
  return choice;
}

// The rows first .. last-1 are a run.
void merge_run(const MergeRows& rows, size_t first, size_t last, MergeChoice* choice) {
  size_t pivot = last;
  for (size_t i = first; i < last; ++i)
    if (rows.fates[i] == MergeFate::takes && (pivot == last || rows.scores[i] > rows.scores[pivot]))
      pivot = i;
  if (pivot == last) return;
  const auto distance = [&](size_t row) {
    float sum = 0.0f;
    for (size_t c = 0; c < static_cast<size_t>(rows.dim); ++c) {
      const float off = rows.key(row)[c] - rows.key(pivot)[c];
      sum += off * off;
    }
    return sum;
  };
  float spread = 0.0f;
  for (size_t i = first; i < last; ++i) spread += distance(i) / static_cast<float>(last - first);
  for (size_t i = first; i < last; ++i) {
    if (rows.fates[i] != MergeFate::leaves) continue;
    choice->into[i] = pivot;
    choice->weights[i] = spread > 0.0f ? std::exp(-distance(i) / (2.0f * spread)) : 1.0f;
  }
}

}  // namespace

MergeChoice choose_d2o(const MergeRows& rows, float follow, float* threshold) {
  MergeChoice choice = nothing_merged(rows.size());
  const std::vector<float> inverse = inverse_norms(rows);
  double sum = 0.0;  // so that the mean of equal similarities is the same number
  int evicted = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows.fates[i] != MergeFate::leaves) continue;
    float best = -std::numeric_limits<float>::infinity();
    for (size_t j = 0; j < rows.size(); ++j) {
      if (rows.fates[j] != MergeFate::takes) continue;
      const float similarity = cosine(rows, inverse, i, j);
      if (similarity <= best) continue;
      best = similarity;
      choice.into[i] = j;
    }
    choice.weights[i] = best;
    if (choice.into[i] == i) continue;
    sum += static_cast<double>(best);
    ++evicted;
  }
  if (evicted == 0) return choice;
  const auto mean = static_cast<float>(sum / evicted);
  *threshold = std::isinf(*threshold) ? mean : follow * mean + (1.0f - follow) * *threshold;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows.fates[i] != MergeFate::leaves) continue;
    if (choice.weights[i] < *threshold) choice.into[i] = i;
    choice.weights[i] = std::exp(choice.weights[i] - 1.0f);
  }
  return choice;
}

MergeChoice choose_kvmerger(const MergeRows& rows, float least) {
  MergeChoice choice = nothing_merged(rows.size());
  const std::vector<float> inverse = inverse_norms(rows);
  size_t first = 0;
  for (size_t i = 1; i <= rows.size(); ++i) {
    const bool goes_on = i < rows.size() && cosine(rows, inverse, i, i - 1) >= least;
    if (goes_on) continue;
    merge_run(rows, first, i, &choice);
    first = i;
  }
  return choice;
}

std::vector<uint8_t> merge_rows(const MergeChoice& choice, MergeRows* rows) {
  const size_t n = rows->size(), d = static_cast<size_t>(rows->dim);
  std::vector<uint8_t> changed(n);
  std::vector<float> weights(rows->masses), masses(rows->masses);
  const auto scale = [d](std::vector<float>* x, size_t row, float factor) {
    kernels().scale(x->data() + row * d, static_cast<int>(d), factor);
  };
  for (size_t i = 0; i < n; ++i) {
    const size_t to = choice.into[i];
    if (to == i) continue;
    if (!changed[to]) {
      scale(&rows->k, to, weights[to]);
      scale(&rows->v, to, weights[to]);
      changed[to] = 1;
    }
    const float weight = choice.weights[i] * rows->masses[i];
    for (auto* x : {&rows->k, &rows->v})
      kernels().add_scaled(x->data() + i * d, static_cast<int>(d), weight, x->data() + to * d);
    weights[to] += weight;
    masses[to] += rows->masses[i];
  }
  for (size_t i = 0; i < n; ++i) {
    if (!changed[i]) continue;
    scale(&rows->k, i, 1.0f / weights[i]);
    scale(&rows->v, i, 1.0f / weights[i]);
  }
  rows->masses = std::move(masses);
  return changed;
}

Merger::Merger(const Plan::Slot& slot, int layers, int kv_heads)
    : d2o_(slot.method == "d2o"),
      parameter_(static_cast<float>(slot.number(d2o_ ? "follow" : "threshold"))),
      kv_heads_(kv_heads),
      thresholds_(d2o_ ? static_cast<size_t>(layers * kv_heads) : 0,
                  -std::numeric_limits<float>::infinity()) {}

std::vector<uint8_t> Merger::merge(HeadIndex head, MergeRows* rows) {
  const auto index = static_cast<size_t>(head.layer * kv_heads_ + head.kv_head);
  return merge_rows(d2o_ ? choose_d2o(*rows, parameter_, &thresholds_[index])
                         : choose_kvmerger(*rows, parameter_),
                    rows);
}

}  // namespace kvkeep
