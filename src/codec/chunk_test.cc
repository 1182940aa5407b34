// The chunk codec on a synthetic chain of layers (goals G4-G6), and on damaged bytes.
#include "codec/chunk.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/rng.h"
#include "codec/chunk_tier.h"
#include "codec/ridge.h"

namespace kvkeep {
namespace {

constexpr ChunkShape kShape{4, 2, 32};
constexpr int kWidth = 64;
constexpr double kExplained[] = {0.8, 0.7};  // of keys, of values

Plan plan_of(const std::string& text) { return *Plan::parse(text); }

// Keys of layer l: sqrt(.8) times those below, turned by a fixed orthogonal map, plus noise; values
// from the keys of their layer with .7. All of unit variance around a mean of 3.
struct Chain {
  std::vector<std::vector<float>> rows[2];  // [K, V][layers], [rows][width]

  explicit Chain(int n, uint64_t seed = 1) {
    Rng rng(seed);
    for (int layer = 0; layer < kShape.layers; ++layer) {
      for (int side = 0; side < 2; ++side) {
        const auto share = layer == 0 && side == 0 ? 0.0 : kExplained[side];
        const auto& from = side == 1 ? rows[0] : rows[0];
        std::vector<float> own(static_cast<size_t>(n) * kWidth);
        for (size_t i = 0; i < own.size(); ++i) {
          const size_t row = i / kWidth, c = i % kWidth;
          double x = std::sqrt(1 - share) * rng.normal();
          if (share > 0) {
            const auto& source = from[static_cast<size_t>(side == 1 ? layer : layer - 1)];
            const double sign = c % 3 ? 1 : -1;  // a signed rotation of the channels
            x += std::sqrt(share) * sign * (source[row * kWidth + (c + 7) % kWidth] - 3);
          }
          own[i] = static_cast<float>(3 + x);
        }
        rows[side].push_back(std::move(own));
      }
    }
  }
};

// Fitted as calibrate() does, but to the true rows below: enough for a chain.
std::shared_ptr<const Calibration> fit(const Plan& plan, const Chain& chain, int n) {
  const PredictorForm form = make_predictor(plan.slot("predictor"));
  Calibration made({1, calibration_plan(plan), kShape.layers, kShape.kv_heads, kShape.head_dim},
                   form);
  for (int layer = 0; layer < kShape.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const auto sources = form.sources(layer, side);
      const MapShape shape = form.shape(layer, side, kShape.kv_heads, kShape.head_dim);
      Ridge ridge(static_cast<int>(sources.size()) * kWidth, kWidth);
      std::vector<float> x;
      for (size_t row = 0; row < static_cast<size_t>(n); ++row)
        for (const Source source : sources) {
          const auto l = static_cast<size_t>(source == Source::key ? layer : layer - 1);
          const auto& from = chain.rows[source == Source::value_below][l];
          const auto begin = from.begin() + static_cast<ptrdiff_t>(row * kWidth);
          x.insert(x.end(), begin, begin + kWidth);
        }
      const auto& y = chain.rows[side == Side::value][static_cast<size_t>(layer)];
      ridge.add(x.data(), y.data(), n);
      const RidgeMap map = ridge.solve(1e-3, shape.rank, shape.heads);
      made.set_map(layer, side, AffineMap(shape, map.weights, map.bias));
    }
  return std::make_shared<const Calibration>(std::move(made));
}

ChunkCodec codec_of(const std::string& plan, const Chain& chain, int n) {
  return *ChunkCodec::make(plan_of(plan), kShape, fit(plan_of(plan), chain, n));
}

std::vector<int32_t> positions_of(int n) {
  std::vector<int32_t> positions;
  for (int i = 0; i < n; ++i) positions.push_back(10 + 3 * i);
  return positions;
}

Result<Chunk> encode(const ChunkCodec& codec, const Chain& chain, int first, int n) {
  const auto read = [&](int layer, float* keys, float* values) {
    const auto at = static_cast<ptrdiff_t>(first) * kWidth;
    std::copy_n(chain.rows[0][static_cast<size_t>(layer)].begin() + at, n * kWidth, keys);
    std::copy_n(chain.rows[1][static_cast<size_t>(layer)].begin() + at, n * kWidth, values);
  };
  return codec.encode(positions_of(n), read);
}

// [K, V][layers] as decoded, `step` rows a call.
Chain decode(const ChunkCodec& codec, const Chunk& chunk, int step) {
  Chain out(0);
  std::vector<float> keys(static_cast<size_t>(chunk.rows) * kWidth), values(keys.size());
  for (int layer = 0; layer < kShape.layers; ++layer) {
    ChunkCodec::Weights weights;
    codec.unpack(layer, &weights);
    for (int first = 0; first < chunk.rows; first += step)
      codec.decode(chunk, layer, weights, first, std::min(step, chunk.rows - first),
                   keys.data() + first * kWidth, values.data() + first * kWidth);
    out.rows[0][static_cast<size_t>(layer)] = keys;
    out.rows[1][static_cast<size_t>(layer)] = values;
  }
  return out;
}

// Power of the error at one layer, over the rows from `first` on.
double error(const Chain& truth, const Chain& found, int side, int layer, int first) {
  const auto& a = truth.rows[side][static_cast<size_t>(layer)];
  const auto& b = found.rows[side][static_cast<size_t>(layer)];
  double sum = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = a[static_cast<size_t>(first) * kWidth + i] - b[i];
    sum += d * d;
  }
  return sum / static_cast<double>(b.size());
}

const char* kAqua = "aqua2:low.k=p2n16,low.v=p2n16,low.scale=least_squares,predictor.bits=16";

TEST(ChunkCodec, PredictionGainsWhatItExplains) {
  constexpr int kRows = 4000;
  const Chain chain(kRows + 512);
  const ChunkCodec aqua = codec_of(kAqua, chain, kRows);
  const ChunkCodec mean = codec_of(
      "aqua2:predictor=mean,low.k=p2n16,low.v=p2n16,low.scale=least_squares", chain, kRows);
  const Chain from_aqua = decode(aqua, *encode(aqua, chain, kRows, 512), 512);
  const Chain from_mean = decode(mean, *encode(mean, chain, kRows, 512), 512);
  // At layer 0 both code the same rows at 4 bits; above, the gain at equal bits is 1 / (1 - EVR),
  // where what is explained shrinks by the noise of the layer below.
  EXPECT_NEAR(error(chain, from_mean, 0, 1, kRows), 0.1, 0.01);
  EXPECT_GT(error(chain, from_mean, 0, 1, kRows) / error(chain, from_aqua, 0, 1, kRows), 4.0);
  EXPECT_GT(error(chain, from_mean, 1, 1, kRows) / error(chain, from_aqua, 1, 1, kRows), 2.5);
  // Closed loop: errors of layers do not add up.
  EXPECT_LT(error(chain, from_aqua, 0, 3, kRows), 1.3 * error(chain, from_aqua, 0, 2, kRows));
}

// Goal G5: given the true rows, what a fitted map leaves is what the chain does not explain.
TEST(ChunkCodec, ResidualsAreWhatTheChainDoesNotExplain) {
  constexpr int kRows = 16000, kHeld = 1000;
  const Chain chain(kRows + kHeld);
  const auto fitted = fit(plan_of(kAqua), chain, kRows);
  const auto held = [&](int side, size_t layer) {
    return chain.rows[side][layer].data() + static_cast<ptrdiff_t>(kRows) * kWidth;
  };
  for (const Side side : {Side::key, Side::value}) {
    const int s = side == Side::value;
    const AffineMap& map = fitted->map(1, side);
    std::vector<float> weights(map.shape().unpacked_floats()), out(kHeld * kWidth);
    map.unpack(weights);
    std::vector<const float*> sources = {held(0, s ? 1 : 0)};  // [K of layer 1, V below] or K below
    if (s) sources.push_back(held(1, 0));
    map.apply(weights, sources, kHeld, out.data());
    double residual = 0, variance = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const double x = held(s, 1)[i];
      residual += (x - out[i]) * (x - out[i]);
      variance += (x - 3) * (x - 3);
    }
    const double left = 1 - kExplained[s];
    EXPECT_NEAR(residual / variance, left, 0.02 * left) << s;
  }
}

// Goal G4: 2 bits and layer 0 at 4, an f16 for a row, averaged over the layers of known models.
TEST(ChunkCodec, PaperBitsOfKnownModels) {
  const auto bits = [](int layers, int kv_heads) {
    const Plan plan = plan_of("aqua2:predictor=none,low.k=p2n16,low.v=p2n16");
    return ChunkCodec::make(plan, {layers, kv_heads, 128}, nullptr)->paper_bits_per_value();
  };
  EXPECT_NEAR(bits(28, 8), 2.087, 5e-4);  // Llama-3.2-3B
  EXPECT_NEAR(bits(32, 8), 2.078, 5e-4);  // Llama-3.1-8B
  EXPECT_NEAR(bits(80, 8), 2.041, 5e-4);  // Llama-3.1-70B
  EXPECT_NEAR(bits(28, 4), 2.103, 5e-4);  // Qwen2.5-7B
}

TEST(ChunkCodec, DecodedIsWhatWasEncodedAgainstForAnyBatching) {
  const Chain chain(1200);
  for (const char* plan :
       {kAqua, "aqua3:predictor.bits=4", "aqua2:predictor=v_from_k",
        "aqua2:predictor=cross_layer:form=per_head", "aqua2:predictor=cross_layer:rank=8",
        "aqua2:predictor=crush", "aqua2:predictor=crush:base=cross_layer,predictor.grid=p1n16"}) {
    const ChunkCodec codec = codec_of(plan, chain, 1000);
    const Chunk chunk = *encode(codec, chain, 1000, 130);
    const Chain whole = decode(codec, chunk, 130);
    for (const int step : {1, 7, 64}) {
      const Chain parts = decode(codec, chunk, step);
      for (int side = 0; side < 2; ++side) EXPECT_EQ(parts.rows[side], whole.rows[side]) << plan;
    }
    // Decoded from a fresh start, layer by layer, it is again what closes the encoder's loop:
    // coding the decoded rows once more finds residuals the grid holds, and gives the same rows.
    const auto again = codec.encode(positions_of(130), [&](int layer, float* keys, float* values) {
      std::copy_n(chain.rows[0][static_cast<size_t>(layer)].begin() + 1000 * kWidth, 130 * kWidth,
                  keys);
      std::copy_n(chain.rows[1][static_cast<size_t>(layer)].begin() + 1000 * kWidth, 130 * kWidth,
                  values);
    });
    EXPECT_EQ(again->bytes, chunk.bytes);
  }
}

TEST(ChunkCodec, BytesAreWhatThePaperCountsAndAHeader) {
  const Chain chain(300);
  const ChunkCodec codec = codec_of(kAqua, chain, 200);
  const Chunk chunk = *encode(codec, chain, 200, 100);
  // 4 bits at layer 0, 2 above, and an f16 norm for 64 values: (4 + 3 * 2) / 4 + 16 / 64.
  EXPECT_DOUBLE_EQ(codec.paper_bits_per_value(), 2.75);
  EXPECT_EQ(codec.code_bytes(1), static_cast<size_t>(2.75 * 4 * 2 * 64 / 8));
  EXPECT_EQ(chunk.bytes.size(), 32 + 2 * 100 + 1 + codec.code_bytes(100));
  EXPECT_EQ(chunk.bytes.capacity(), chunk.bytes.size());
  for (int row = 0; row < 100; ++row) EXPECT_EQ(chunk.position(row), 10 + 3 * row);
}

// Grid and scale of a row of 64 values at 4 bits; a plain chunk has 2 bits above layer 0.
TEST(ChunkCodec, FineChunksHaveFourBitsAndStandEvenlyBetweenTheOthers) {
  const Chain chain(300);
  const ChunkCodec codec = codec_of(std::string(kAqua) + ",low.fine=0.4", chain, 200);
  std::string fine;
  for (size_t n = 0; n < 10; ++n) fine += codec.is_fine(n) ? 'f' : '-';
  EXPECT_EQ(fine, "--f-f--f-f");
  EXPECT_DOUBLE_EQ(codec.paper_bits_per_value(), 0.6 * 2.75 + 0.4 * 4.25);
  EXPECT_EQ(codec.code_bytes(1, true), static_cast<size_t>(4.25 * 4 * 2 * 64 / 8));
  const auto read = [&](int layer, float* keys, float* values) {
    std::copy_n(chain.rows[0][static_cast<size_t>(layer)].begin() + 200 * kWidth, 100 * kWidth,
                keys);
    std::copy_n(chain.rows[1][static_cast<size_t>(layer)].begin() + 200 * kWidth, 100 * kWidth,
                values);
  };
  const Chunk chunk = *codec.encode(positions_of(100), read, {}, true);
  EXPECT_EQ(chunk.bytes.size(), 32 + 2 * 100 + 1 + codec.code_bytes(100, true));
  const auto read_back = codec.parse(chunk.bytes);
  ASSERT_TRUE(read_back);
  EXPECT_TRUE(read_back->fine);
  const Chain decoded = decode(codec, *read_back, 100);
  const Chain plain = decode(codec, *encode(codec, chain, 200, 100), 100);
  for (int layer = 1; layer < 4; ++layer)
    EXPECT_LT(8 * error(chain, decoded, 0, layer, 200), error(chain, plain, 0, layer, 200));
}

// Layer 0 of a made-up model: a token's number says it all.
TokenRows token_rows() {
  return {70000, [](std::vector<float>*, std::vector<float>*) {},
          [](std::span<const int32_t> tokens, std::span<const float>, std::span<const float>,
             float* keys, float* values) {
            for (size_t i = 0; i < tokens.size() * kWidth; ++i) {
              Rng rng(static_cast<uint64_t>(tokens[i / kWidth]) * kWidth + i % kWidth);
              keys[i] = rng.normal();
              values[i] = rng.normal();
            }
          }};
}

TEST(ChunkCodec, LayerZeroIsTheNumbersOfItsTokens) {
  const Chain chain(40);
  const Plan plan = plan_of("aqua2:predictor=none,low.first=token");
  EXPECT_NE(ChunkCodec::make(plan, kShape, nullptr).error().message.find("first=token"),
            std::string::npos);
  const ChunkCodec codec = *ChunkCodec::make(plan, kShape, nullptr, token_rows());
  const ChunkCodec coded = *ChunkCodec::make(plan_of("aqua2:predictor=none"), kShape, nullptr);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 40; ++i) tokens.push_back(i % 3 ? i : 69999);
  const Chunk chunk = *codec.encode(
      positions_of(40),
      [&](int layer, float* keys, float* values) {
        std::copy_n(chain.rows[0][static_cast<size_t>(layer)].begin(), 40 * kWidth, keys);
        std::copy_n(chain.rows[1][static_cast<size_t>(layer)].begin(), 40 * kWidth, values);
      },
      tokens);
  // A number beyond 16 bits is four bytes; layers 1 to 3 are coded at 2 bits and an f16 scale.
  EXPECT_EQ(chunk.bytes.size(), 32 + 40 * 2 + 40 * 4 + 1 + 40 * 3 * 2 * (64 * 2 / 8 + 2));
  EXPECT_EQ(codec.side_bytes(0, Side::key, 40), 0u);
  std::vector<float> keys(40 * kWidth), values(keys.size());
  token_rows().read(tokens, {}, {}, keys.data(), values.data());
  const Chunk other = *encode(coded, chain, 0, 40);
  for (const int step : {1, 7, 40}) {
    const Chain found = decode(codec, chunk, step), expected = decode(coded, other, step);
    EXPECT_EQ(found.rows[0][0], keys);
    EXPECT_EQ(found.rows[1][0], values);
    for (size_t layer = 1; layer < 4; ++layer)  // nothing is predicted, so they are the same
      EXPECT_EQ(found.rows[0][layer], expected.rows[0][layer]);
  }
  EXPECT_TRUE(codec.parse(chunk.bytes));
  TokenRows few = token_rows();
  few.vocab = 69999;  // token 69999 is then none of the model's
  EXPECT_FALSE(ChunkCodec::make(plan, kShape, nullptr, few)->parse(chunk.bytes));
}

// Every row is one of eight: what is left after the nearest of its chunk is next to nothing.
TEST(ChunkCodec, RowsAlikeInAChunkPayOnce) {
  const Chain kinds(8);
  Chain chain(256);
  for (int side = 0; side < 2; ++side)
    for (size_t layer = 0; layer < 4; ++layer)
      for (size_t i = 0; i < 256 * kWidth; ++i)
        chain.rows[side][layer][i] =
            kinds.rows[side][layer][i / kWidth * 5 % 8 * kWidth + i % kWidth];
  const char* slots = ",low.k=p1n2,low.v=p1n2";
  const std::string crush =
      "aqua2:predictor=crush,predictor.index=4,predictor.gain=1,predictor.grid=p1n16";
  const ChunkCodec plain = codec_of(std::string("aqua2:predictor=mean") + slots, chain, 256);
  const ChunkCodec alike = codec_of(crush + slots, chain, 256);
  const Chain a = decode(plain, *encode(plain, chain, 0, 128), 128);
  const Chain b = decode(alike, *encode(alike, chain, 0, 128), 128);
  for (int layer = 1; layer < 4; ++layer)
    for (int side = 0; side < 2; ++side)
      EXPECT_LT(error(chain, b, side, layer, 0), 0.05 * error(chain, a, side, layer, 0));
}

// What a wrong calibration predicts is worse than nothing: the chunk's own means stand in.
TEST(ChunkCodec, ACalibrationOfAnotherTextCannotHurt) {
  Chain other(1000, 2);
  for (auto& rows : other.rows)
    for (auto& layer : rows)
      for (size_t i = 0; i < layer.size(); ++i) layer[i] = -5.0f * layer[(i * 7919) % layer.size()];
  const Chain chain(128);
  const ChunkCodec wrong = codec_of(kAqua, other, 1000);
  const Chunk chunk = *encode(wrong, chain, 0, 128);
  const Chain found = decode(wrong, chunk, 128);
  for (int layer = 0; layer < kShape.layers; ++layer)
    for (int side = 0; side < 2; ++side) {
      EXPECT_TRUE(chunk.falls_back(layer, side ? Side::value : Side::key));
      EXPECT_LT(error(chain, found, side, layer, 0), layer == 0 ? 0.01 : 0.12);
    }
  const ChunkCodec right = codec_of(kAqua, Chain(1000, 3), 1000);
  const Chunk sound = *encode(right, chain, 0, 128);
  for (int layer = 1; layer < kShape.layers; ++layer)
    EXPECT_FALSE(sound.falls_back(layer, Side::key));
}

TEST(ChunkCodec, ZeroAndConstantRowsAreExactEnoughAndNanIsAnError) {
  const auto none = ChunkCodec::make(plan_of("aqua2:predictor=none"), kShape, nullptr);
  ASSERT_TRUE(none);
  Chain chain(16);
  for (auto& rows : chain.rows)
    for (auto& layer : rows) std::fill(layer.begin(), layer.end(), 0.0f);
  const Chain zero = decode(*none, *encode(*none, chain, 0, 16), 16);
  for (const float x : zero.rows[0][2]) ASSERT_EQ(x, 0.0f);
  for (auto& rows : chain.rows)
    for (auto& layer : rows) std::fill(layer.begin(), layer.end(), 100.0f);
  const Chain constant = decode(*none, *encode(*none, chain, 0, 16), 16);
  EXPECT_LT(error(chain, constant, 0, 2, 0), 0.3 * 100 * 100) << "signs spread a constant row";
  const ChunkCodec mean = codec_of("aqua2:predictor=mean", Chain(300, 2), 300);
  const Chain own = decode(mean, *encode(mean, chain, 0, 16), 16);
  for (const float x : own.rows[1][3]) ASSERT_EQ(x, 100.0f) << "the chunk's own mean is all of it";
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e9f}) {
    chain.rows[1][2][70] = bad;
    const auto refused = encode(*none, chain, 0, 16);
    ASSERT_FALSE(refused) << bad;
    EXPECT_NE(refused.error().message.find("layer 2, values, positions 10 to 55"),
              std::string::npos);
  }
}

TEST(ChunkCodec, DamagedChunksAreRefused) {
  const Chain chain(300);
  const ChunkCodec codec = codec_of(kAqua, chain, 200);
  const Chunk chunk = *encode(codec, chain, 200, 50);
  const auto whole = codec.parse(chunk.bytes);
  ASSERT_TRUE(whole);
  EXPECT_EQ(decode(codec, *whole, 50).rows[0], decode(codec, chunk, 50).rows[0]);
  for (size_t n = 0; n < chunk.bytes.size(); n += 97)
    EXPECT_FALSE(codec.parse(std::span(chunk.bytes).first(n))) << n;
  for (size_t at = 0; at < chunk.bytes.size(); at += 31) {
    auto flipped = chunk.bytes;
    flipped[at] ^= std::byte{4};
    EXPECT_FALSE(codec.parse(flipped)) << at;
  }
  const auto other = *ChunkCodec::make(plan_of("aqua2:predictor=none"), {4, 2, 64}, nullptr);
  const auto refused = other.parse(chunk.bytes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("4 layers of 64 values; allowed here: 4 of 128"),
            std::string::npos);
}

TEST(Calibration, FilesReadBackAndDamagedOrForeignOnesAreRefused) {
  const Plan plan = plan_of(kAqua);
  const auto made = fit(plan, Chain(300), 300);
  const std::string bytes = made->bytes();
  const auto read = Calibration::parse(bytes, "x.kvcal");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->bytes(), bytes);
  EXPECT_EQ(read->key(), made->key());
  for (size_t n = 0; n < bytes.size(); n += 211)
    EXPECT_FALSE(Calibration::parse(bytes.substr(0, n), "x")) << n;
  for (size_t at = 0; at < bytes.size(); at += 101) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 16);
    const auto refused = Calibration::parse(flipped, "x.kvcal");
    ASSERT_FALSE(refused) << at;
    EXPECT_NE(refused.error().message.find("'x.kvcal'"), std::string::npos);
  }
  const auto missing = ChunkCodec::make(plan, kShape, nullptr);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("--calibration FILE"), std::string::npos);
  const auto other = ChunkCodec::make(plan_of("aqua3"), kShape, made);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("another plan"), std::string::npos);
  EXPECT_FALSE(ChunkCodec::make(plan, {4, 1, 64}, made)) << "another shape";
  for (const char* more : {",low.rows=64,keep=0.5", ",low.scale=unbiased", ",low.scale=norm"})
    EXPECT_EQ(calibration_plan(plan_of(kAqua + std::string(more))), calibration_plan(plan))
        << "rows, budgets and scales do not matter";
}

// Layer after layer through the tier: for any number of threads what the codec decodes.
TEST(ChunkTier, ReadsLayersOnAnyThreadsAndSharesChunksWithForks) {
  const Chain chain(600);
  const auto codec = std::make_shared<const ChunkCodec>(codec_of(kAqua, chain, 300));
  RopeConfig rope;
  rope.dim = 32;
  const Rope turn(rope);
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    ChunkTier tier(codec, rope);
    const auto read = [&](int layer, int row, int n, float* keys, float* values) {
      const auto at = static_cast<ptrdiff_t>(row) * kWidth;
      std::copy_n(chain.rows[0][static_cast<size_t>(layer)].begin() + at, n * kWidth, keys);
      std::copy_n(chain.rows[1][static_cast<size_t>(layer)].begin() + at, n * kWidth, values);
      for (int i = 0; i < n; ++i)
        for (int h = 0; h < 2; ++h) turn.apply(keys + i * kWidth + h * 32, 5 + row + i);
    };
    std::vector<int32_t> positions;
    for (int i = 0; i < 300; ++i) positions.push_back(5 + i);
    ASSERT_TRUE(tier.append(positions, 128, read, &pool));
    EXPECT_EQ(tier.chunks().size(), 3u);
    EXPECT_EQ(tier.rows(), 300);
    std::vector<float> keys(300 * 32), values(keys.size()), all;
    for (int layer = 0; layer < 4; ++layer) {
      tier.read_layer(layer, &pool);
      tier.read(1, 0, 300, keys.data(), values.data());
      all.insert(all.end(), keys.begin(), keys.end());
      all.insert(all.end(), values.begin(), values.end());
    }
    if (first.empty()) first = all;
    EXPECT_EQ(all, first) << threads << " threads";
    EXPECT_EQ(tier.code_bytes() + tier.scale_bytes(), 3 * (32 + 1) + codec->code_bytes(300));
    EXPECT_EQ(tier.shared_chunk_bytes(), 0u);
    ChunkTier fork = tier.fork();
    EXPECT_GT(tier.shared_chunk_bytes(), codec->code_bytes(300));
    fork.read_layer(2, &pool);
    fork.read(1, 0, 300, keys.data(), values.data());
    EXPECT_TRUE(std::equal(keys.begin(), keys.end(), all.begin() + 2 * 2 * 300 * 32))
        << "a layer asked for out of turn";
    tier.release();
    EXPECT_EQ(tier.scratch_bytes(), 0u);
  }
}

}  // namespace
}  // namespace kvkeep
