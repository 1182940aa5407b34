// What rounding would do to a token, the worse, the higher the score: the error its key would take
// at 2 bits (u2), times a power of the key's length. Ours, and made for levels below which tokens
// stay: eviction asks what nobody looks at, a low tier what its codes can hold. The longer a key,
// the more attention a query can give it, and an error counts by the attention it misleads. Needs
// no attention and keeps no score; no use without a low tier. The last bits of a score depend on
// the instruction set, and so may the order of two keys that score alike.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "codec/scorer/scorer.h"
#include "kernels/isa.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

// |k - k'| of the key at `token` of the tile; k' is what its codes stand for.
float rounding_error(const PartShape& shape, const TileCodes& tile, int token, const float* key) {
  const uint8_t* codes = tile.codes + token * shape.padded_dim;
  float error[kMaxHeadDim];
  for (int group = 0; group < shape.groups; ++group) {
    const int first = group * shape.group, last = std::min(first + shape.group, shape.head_dim);
    const float scale = f16_to_f32(tile.scales[group * kTileTokens + token]);
    const float minimum = f16_to_f32(tile.minima[group * kTileTokens + token]);
    for (int c = first; c < last; ++c)
      error[c] = key[c] - (minimum + scale * static_cast<float>(codes[c]));
  }
  return std::sqrt(kernels().dot(error, error, shape.head_dim));
}

class Damage : public Scorer {
 public:
  explicit Damage(double power) : power_(static_cast<float>(power)) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    const PartShape shape = part_shape({LayoutId::u2, kGroupHalf}, input.head_dim);
    const auto quantize = kernels().quantize_tile[static_cast<size_t>(LayoutId::u2)];
    const auto d = static_cast<size_t>(input.head_dim);
    std::vector<float> keys(kTileTokens * d);
    TileCodes tile;
    for (size_t first = 0; first < scores.size(); first += kTileTokens) {
      const size_t count = std::min<size_t>(kTileTokens, scores.size() - first);
      input.read(first, count, keys.data(), nullptr);
      quantize(shape, keys.data(), input.head_dim, 0, static_cast<int>(count), &tile);
      for (size_t i = 0; i < count; ++i) {
        const float* key = keys.data() + i * d;
        const float square = kernels().dot(key, key, input.head_dim);
        scores[first + i] =
            std::pow(square, power_ / 2) * rounding_error(shape, tile, static_cast<int>(i), key);
      }
    }
  }

 private:
  float power_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_damage(const Plan::Slot& slot) {
  return std::make_unique<Damage>(slot.number("length"));
}

}  // namespace kvkeep
