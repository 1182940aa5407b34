// A chunk is refused with a line, or every layer of it decodes, to the same rows for any grouping.
// The first byte chooses a codec. The checksum in the header is put right, so that what stands
// behind it is reached.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "codec/chunk.h"

namespace kvkeep {
namespace {

constexpr ChunkShape kShape{3, 2, 8};
constexpr size_t kWidth = 16;

struct Form {
  const char* plan;
  int vocab = 300;  // of the model that makes layer 0, where it is from tokens
};

// make_seeds.py knows their sizes.
constexpr Form kForms[] = {
    {"aqua2:predictor=none"},
    {"aqua2:predictor=crush:base=none"},
    {"aqua2:predictor=none,low.first=token"},
    {"aqua2:predictor=crush:base=none,predictor.grid=p1n16,predictor.index=8,low.first=token",
     70000},
    {"aqua2:predictor=none,low.k=p1n2,low.v=p1n8,low.first=p2n64,low.scale=norm"},
    {"aqua2:predictor=mean,low.v=none"},
    {"aqua2:predictor=crush:base=cross_layer,predictor.grid=same,low.k=p4n64"},
    {"aqua2:predictor=cross_layer:form=per_head,predictor.bits=4"},
};

// Predicts the layer's bias: sixteen times 1.5.
std::shared_ptr<const Calibration> made_up(const Plan& plan) {
  const PredictorForm form = make_predictor(plan.slot("predictor"));
  if (!form.calibrated()) return nullptr;
  Calibration made({1, calibration_plan(plan), kShape.layers, kShape.kv_heads, kShape.head_dim},
                   form);
  const std::vector<float> weights(2 * kWidth * kWidth, 0.125f), bias(kWidth, 1.5f);
  for (int layer = 0; layer < kShape.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const MapShape shape = form.shape(layer, side, kShape.kv_heads, kShape.head_dim);
      made.set_map(layer, side, AffineMap(shape, weights, bias));
    }
  return std::make_shared<const Calibration>(std::move(made));
}

TokenRows token_rows(int vocab) {
  return {vocab, [](std::vector<float>*, std::vector<float>*) {},
          [](std::span<const int32_t> tokens, std::span<const float>, std::span<const float>,
             float* keys, float* values) {
            for (const int32_t token : tokens) {
              keys = std::fill_n(keys, kWidth, static_cast<float>(token));
              values = std::fill_n(values, kWidth, -static_cast<float>(token));
            }
          }};
}

std::vector<ChunkCodec> make_codecs() {
  std::vector<ChunkCodec> codecs;
  for (const Form& form : kForms) {
    const Plan plan = *Plan::parse(form.plan);
    codecs.push_back(*ChunkCodec::make(plan, kShape, made_up(plan), token_rows(form.vocab)));
  }
  return codecs;
}

void put_sum_right(std::vector<std::byte>* bytes) {
  constexpr size_t kHeader = 32, kSum = 24;
  if (bytes->size() < kHeader) return;
  std::memset(bytes->data() + kSum, 0, sizeof(uint64_t));
  const uint64_t seed = XXH64(bytes->data(), kHeader, 0);
  const uint64_t sum = XXH64(bytes->data() + kHeader, bytes->size() - kHeader, seed);
  std::memcpy(bytes->data() + kSum, &sum, sizeof sum);
}

// [layers][K, V][rows][width]
std::vector<float> decode(const ChunkCodec& codec, const Chunk& chunk, int step) {
  std::vector<float> keys(static_cast<size_t>(chunk.rows) * kWidth), values(keys.size()), all;
  for (int layer = 0; layer < kShape.layers; ++layer) {
    ChunkCodec::Weights weights;
    codec.unpack(layer, &weights);
    for (int first = 0; first < chunk.rows; first += step) {
      const size_t at = static_cast<size_t>(first) * kWidth;
      codec.decode(chunk, layer, weights, first, std::min(step, chunk.rows - first),
                   keys.data() + at, values.data() + at);
    }
    all.insert(all.end(), keys.begin(), keys.end());
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace
}  // namespace kvkeep

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvkeep;
  if (size == 0) return 0;
  static const std::vector<ChunkCodec> codecs = make_codecs();
  const ChunkCodec& codec = codecs[data[0] % codecs.size()];
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin + 1, begin + size);
  put_sum_right(&bytes);
  const auto chunk = codec.parse(bytes);
  if (!chunk) {
    KVKEEP_CHECK(!chunk.error().message.empty(), "an error without a message");
    return 0;
  }
  const std::vector<float> whole = decode(codec, *chunk, chunk->rows),
                           parts = decode(codec, *chunk, 3);
  KVKEEP_CHECK(std::equal(whole.begin(), whole.end(), parts.begin(), same),
               "rows that depend on their grouping");
  return 0;
}
