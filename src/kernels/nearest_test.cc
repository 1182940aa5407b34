#include "kernels/nearest.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// The definition, in the order of sums that the header promises.
uint8_t defined(const PointSet& set, const float* x) {
  int best = 0;
  float top = 0;
  for (int j = 0; j < set.n; ++j) {
    float score = x[0] * set.points[j * set.p];
    for (int k = 1; k < set.p; ++k) {
      const float product = x[k] * set.points[j * set.p + k];
      score = score + product;
    }
    score = score - set.half_norms[j];
    if (j == 0 || score > top) best = j, top = score;
  }
  return static_cast<uint8_t>(best);
}

TEST(Nearest, IsTheSameForEveryWidthAndCount) {
  std::vector<NearestFn> forms = {scalar::kNearest, nearest_kernel()};
#if defined(__x86_64__)
  if (runnable_kernels().size() > 1) forms.push_back(avx2::kNearest);
#endif
  Rng rng(7);
  for (const auto& [p, n] : {std::pair{1, 2}, {1, 16}, {2, 16}, {2, 256}, {4, 256}}) {
    std::vector<float> points(static_cast<size_t>(n * p)), halves(static_cast<size_t>(n));
    for (float& c : points) c = rng.normal();
    std::copy_n(points.begin(), p, points.end() - p);  // as near as the first: never chosen
    for (size_t i = 0; i < points.size(); ++i)
      halves[i / static_cast<size_t>(p)] += 0.5f * points[i] * points[i];
    const PointSet set{points.data(), halves.data(), n, p};
    for (const int count : {1, 3, 16, 63, 64, 200}) {
      std::vector<float> x(static_cast<size_t>(count * p));
      for (float& v : x) v = 1.5f * rng.normal();
      for (const NearestFn form : forms) {
        std::vector<uint8_t> found(static_cast<size_t>(count) + 1, 99);
        form(set, x.data(), count, found.data());
        for (int t = 0; t < count; ++t)
          ASSERT_EQ(found[static_cast<size_t>(t)], defined(set, x.data() + t * p)) << p << " " << n;
        EXPECT_EQ(found.back(), 99);
      }
    }
  }
}

}  // namespace
}  // namespace kvkeep
