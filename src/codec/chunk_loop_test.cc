// What a chunk's layers were predicted from, and its bytes. Maps and rows are made up by exact
// steps alone (no function of the C library, no fit), so every expectation holds on every machine.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/rng.h"
#include "codec/chunk.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr ChunkShape kShape{3, 2, 32};
constexpr int kRows = 70;
constexpr size_t kWidth = 64, kValues = kRows * kWidth;
using Rows = std::vector<float>;  // [kRows][kWidth]

float next(Rng* rng) { return rng->uniform() - 0.5f; }

std::shared_ptr<const Calibration> made_up(const Plan& plan) {
  const PredictorForm form = make_predictor(plan.slot("predictor"));
  if (!form.calibrated()) return nullptr;
  Calibration made({1, calibration_plan(plan), kShape.layers, kShape.kv_heads, kShape.head_dim},
                   form);
  Rng rng(1);
  for (int layer = 0; layer < kShape.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const MapShape shape = form.shape(layer, side, kShape.kv_heads, kShape.head_dim);
      Rows weights(2 * kWidth * kWidth), bias(kWidth);
      for (float& x : weights) x = 0.25f * next(&rng);
      for (float& x : bias) x = next(&rng);
      made.set_map(layer, side, AffineMap(shape, weights, bias));
    }
  return std::make_shared<const Calibration>(std::move(made));
}

// Layer 0 of a made-up model; its numbers take four bytes.
TokenRows token_rows() {
  return {70000, [](Rows*, Rows*) {},
          [](std::span<const int32_t> tokens, std::span<const float>, std::span<const float>,
             float* keys, float* values) {
            for (const int32_t token : tokens) {
              Rng rng(static_cast<uint64_t>(token));
              for (size_t c = 0; c < kWidth; ++c) *keys++ = next(&rng), *values++ = next(&rng);
            }
          }};
}

Rows predict(const ChunkCodec& codec, int layer, Side side, const Rows& key_below,
             const Rows& value_below, const Rows& key) {
  Rows out(kValues, 0.0f);
  if (!codec.calibration()) return out;
  std::vector<const float*> from;
  for (const Source source : codec.calibration()->form().sources(layer, side))
    from.push_back(source == Source::key         ? key.data()
                   : source == Source::key_below ? key_below.data()
                                                 : value_below.data());
  const AffineMap& map = codec.calibration()->map(layer, side);
  Rows weights(map.shape().unpacked_floats());
  map.unpack(weights);
  map.apply(weights, from, kRows, out.data());
  return out;
}

// A codec, and rows that follow from those below by its maps, with noise as large; but for the last
// values, of which the maps know nothing. tokens and layer 0 agree where it is made of them.
struct Case {
  ChunkCodec codec;
  std::vector<int32_t> tokens;
  std::vector<Rows> rows[2];  // [K, V][layers]

  explicit Case(const char* text)
      : codec(*ChunkCodec::make(*Plan::parse(text), kShape, made_up(*Plan::parse(text)),
                                token_rows())) {
    Rng rng(2);
    for (int i = 0; i < kRows; ++i) tokens.push_back(static_cast<int32_t>(rng.below(70000)));
    for (size_t layer = 0; layer < 3; ++layer)
      for (size_t side = 0; side < 2; ++side) {
        const size_t below = layer > 0 ? layer - 1 : 0;
        const Rows none, &key = side > 0 ? rows[0][layer] : none;
        Rows own =
            predict(codec, static_cast<int>(layer), side ? Side::value : Side::key,
                    layer > 0 ? rows[0][below] : none, layer > 0 ? rows[1][below] : none, key);
        for (float& x : own) x = layer + side == 3 ? 4 + next(&rng) : x + next(&rng);
        rows[side].push_back(std::move(own));
        if (layer + 1 == side && codec.from_tokens())  // both sides of layer 0 are there
          token_rows().read(tokens, {}, {}, rows[0][0].data(), rows[1][0].data());
      }
  }

  Chunk encode(bool fine) const {
    std::vector<int32_t> positions;
    for (int i = 0; i < kRows; ++i) positions.push_back(10 + 3 * i);
    const auto read = [&](int layer, float* keys, float* values) {
      std::copy_n(rows[0][static_cast<size_t>(layer)].data(), kValues, keys);
      std::copy_n(rows[1][static_cast<size_t>(layer)].data(), kValues, values);
    };
    return *codec.encode(positions, read, tokens, fine);
  }

  // What codes the residuals of a side, made anew.
  Crush coder(const Plan& plan, int layer, Side side, bool fine) const {
    const ChunkQuantizers& all = codec.quantizers();
    const Higgs& other = fine ? all.finest : all.of(layer, side);
    const Higgs& representative = fine ? other : all.representative.value_or(other);
    return {make_predictor(plan.slot("predictor")).crush, kShape.kv_heads, representative, other};
  }
};

Rows own_mean(const Chunk& chunk, size_t n) {
  Rows mean(kValues);
  for (size_t i = 0; i < kValues; ++i) {
    F16 word;
    std::memcpy(&word, chunk.bytes.data() + chunk.means + 2 * (n * kWidth + i % kWidth), 2);
    mean[i] = f16_to_f32(word);
  }
  return mean;
}

// Predictions made here from what decode() gives: the stored codes must be those of true rows less
// these, and what these and the codes add up to must be what decode() gives next. An encoder that
// predicted from true rows would have stored other codes.
TEST(ChunkLoop, EveryLayerIsPredictedFromWhatDecodeGivesOfTheOneBelow) {
  for (const char* text :
       {"aqua2:predictor.bits=16", "aqua3:predictor.bits=4", "aqua2:predictor=mean",
        "aqua2:predictor=v_from_k", "aqua2:predictor=cross_layer:form=per_head",
        "aqua2:predictor=cross_layer:rank=8", "aqua2:predictor=crush:base=cross_layer",
        "aqua2:low.first=token", "aqua2:low.v=none", "aqua2:predictor=none"})
    for (const bool fine : {false, true}) {
      SCOPED_TRACE(std::string(text) + (fine ? ", fine" : ""));
      const Case made(text);
      const Chunk chunk = made.encode(fine);
      const std::byte* stored = chunk.bytes.data() + chunk.codes;
      Rows below[2], decoded[2] = {Rows(kValues), Rows(kValues)};
      size_t means = 0;
      for (int layer = 0; layer < kShape.layers; ++layer) {
        for (int side = 0; side < 2; ++side) below[side] = decoded[side];
        ChunkCodec::Weights weights;
        made.codec.unpack(layer, &weights);
        made.codec.decode(chunk, layer, weights, 0, kRows, decoded[0].data(), decoded[1].data());
        for (const Side side : {Side::key, Side::value}) {
          const Rows& found = decoded[side == Side::value];
          const Rows& truth = made.rows[side == Side::value][static_cast<size_t>(layer)];
          if (layer == 0 && made.codec.from_tokens()) {
            EXPECT_EQ(found, truth);
            continue;
          }
          Rows expected = predict(made.codec, layer, side, below[0], below[1], decoded[0]);
          if (chunk.falls_back(layer, side)) expected = own_mean(chunk, means++);
          if (made.codec.quantizers().codes(layer, side)) {
            const Crush coder = made.coder(*Plan::parse(text), layer, side, fine);
            std::vector<std::byte> codes(coder.bytes(kRows));
            Rows residual(kValues);
            for (size_t i = 0; i < kValues; ++i) residual[i] = truth[i] - expected[i];
            ASSERT_TRUE(coder.encode(residual.data(), kRows, codes.data()));
            EXPECT_TRUE(std::equal(codes.begin(), codes.end(), stored)) << "layer " << layer;
            coder.decode(stored, kRows, 0, kRows, residual.data());
            for (size_t i = 0; i < kValues; ++i) expected[i] += residual[i];
            stored += codes.size();
          }
          EXPECT_EQ(found, expected) << "layer " << layer;
        }
      }
      EXPECT_EQ(stored, chunk.bytes.data() + chunk.bytes.size());
      EXPECT_EQ(means, made.codec.calibration() ? 1u : 0u)
          << "the values that maps know nothing of";
    }
}

// One line a form of chunk: XXH64 of its bytes, and of all that decodes from them.
void print_hashes(const char* isa) {
  setenv("KVKEEP_ISA", isa, 1);
  for (const char* plan :
       {"k=p4n256,v=p4n256,first=p2n256,rows=32;predictor=cross_layer:bits=8",
        "k=p2n64,v=p2n64,first=p2n256,rows=32;predictor=cross_layer:bits=4,rank=8",
        "k=p2n64,v=p1n2,first=p4n256;predictor=crush:base=cross_layer,index=3,gain=0.65",
        "k=p4n64,v=none,first=token;predictor=crush:base=mean,grid=p1n16,near=1",
        "k=p1n4,v=p1n8,first=p2n16,scale=norm;predictor=v_from_k:form=per_head"})
    for (const bool fine : {false, true}) {
      const Case made((std::string("low=chunk:") + plan).c_str());
      const Chunk chunk = made.encode(fine);
      Rows keys(kValues), values(kValues), all;
      for (int layer = 0; layer < kShape.layers; ++layer) {
        ChunkCodec::Weights weights;
        made.codec.unpack(layer, &weights);
        made.codec.decode(chunk, layer, weights, 0, kRows, keys.data(), values.data());
        all.insert(all.end(), keys.begin(), keys.end());
        all.insert(all.end(), values.begin(), values.end());
      }
      std::fprintf(
          stderr, "%zu %016llx %016llx\n", chunk.bytes.size(),
          static_cast<unsigned long long>(XXH64(chunk.bytes.data(), chunk.bytes.size(), 0)),
          static_cast<unsigned long long>(XXH64(all.data(), all.size() * sizeof all[0], 0)));
    }
  std::exit(0);
}

// The instruction set is chosen once, so each needs a process of its own.
TEST(ChunkBytes, AreTheSameOnEveryInstructionSet) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const KernelTable* table : runnable_kernels())
    EXPECT_EXIT(print_hashes(table->name), testing::ExitedWithCode(0),
                "10101 69a9c99032814a14 e73943a6b0c4b4a7\n"  // aqua2
                "14581 c1a0df10d8e3569b 20cd8ae23d365fc7\n"  // and fine
                "12341 18a8e6fad1351bd8 6f000be68179fe8e\n"  // aqua3, of a low rank
                "14581 e7a35685a7a01af4 4fa20de14591d1ac\n"
                "8779 4494bc09e0f6cc17 e71cfda51bf18332\n"  // crush
                "14827 fc3f215153177550 cad00dc2d18c6355\n"
                "2903 b9417e3d340231aa d21890ff9f1f0ab0\n"  // layer 0 from tokens, no values
                "5423 3993fa30a750ac9d 4db738c1cb667a6b\n"
                "8981 1563e7050d0fe002 34d860f77c45486e\n"  // values from keys, head by head
                "14581 a24a9a74cff3e28b 7d02766ee0afbf4f\n")
        << table->name;
}

}  // namespace
}  // namespace kvkeep
