// Both attention paths against double-precision softmax over the rows the cache gives back, for
// every preset, ragged head counts and any number of threads.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "attention/decode_attention.h"
#include "attention/prefill_attention.h"
#include "base/rng.h"
#include "kernels/isa.h"
#include "kvkeep/methods.h"

namespace kvkeep {
namespace {

struct Setting {
  int kv_heads, gqa, dim, threads;

  friend void PrintTo(const Setting& s, std::ostream* out) {
    *out << s.kv_heads << " kv_heads, gqa " << s.gqa << ", dim " << s.dim;
  }
};

struct Fixture {
  Fixture(const std::string& text, const Setting& s)
      : heads{s.kv_heads, s.gqa, s.dim},
        pool(s.threads),
        pipeline(*Pipeline::make(*Plan::parse(text), context(s))),
        cache(1, s.kv_heads, pipeline.tier_shapes()),
        decode(&pipeline, heads),
        prefill(&pipeline, heads) {}

  static TransformContext context(const Setting& s) {
    TransformContext c{1, s.kv_heads, s.dim, 8192, {}};
    c.rope.dim = s.dim;
    return c;
  }
  size_t q_size(int rows) const {
    return static_cast<size_t>(rows * heads.kv_heads * heads.gqa_ratio * heads.head_dim);
  }
  std::vector<float> normals(size_t n) {
    std::vector<float> x(n);
    for (float& v : x) v = rng.normal();
    return x;
  }
  void append(int n) {
    for (int i = 0; i < n; ++i, ++tokens)
      for (int h = 0; h < heads.kv_heads; ++h) {
        const auto d = static_cast<size_t>(heads.head_dim);
        const auto k = normals(d), v = normals(d);
        ASSERT_TRUE(pipeline.append(&cache, {0, h}, tokens, k.data(), v.data()));
      }
  }
  void demote(bool flush) {
    if (pipeline.reallocates(tokens, flush)) pipeline.reallocate(cache, tokens);
    for (int level = 0; level < cache.levels(); ++level)
      for (int h = 0; h < heads.kv_heads; ++h)
        pipeline.demote(&cache, {0, h}, level, tokens, flush);
  }

  // out [rows][q_heads][dim] of the last `rows` tokens, causal among themselves; mass[kv_head][slot
  // of level 0]: what the rows that the scorer observes give.
  std::vector<double> oracle(int rows, const std::vector<float>& q,
                             std::vector<std::vector<double>>* mass) const {
    const int d = heads.head_dim, q_heads = heads.kv_heads * heads.gqa_ratio;
    std::vector<double> out(q_size(rows));
    mass->assign(static_cast<size_t>(heads.kv_heads), {});
    for (int h = 0; h < heads.kv_heads; ++h) {
      std::vector<float> k, v;
      std::vector<double> masses;  // tokens a row stands for
      size_t total = 0, exact = 0;
      for (int level = cache.levels() - 1; level >= 0; --level) {
        const int n = cache.tier(0, h, level).size();
        exact = total;  // level 0 comes last
        k.resize((total + static_cast<size_t>(n)) * static_cast<size_t>(d));
        v.resize(k.size());
        pipeline.read_rows(cache, {0, h}, level, 0, n, k.data() + total * static_cast<size_t>(d),
                           v.data() + total * static_cast<size_t>(d));
        total += static_cast<size_t>(n);
        const Tier& tier = cache.tier(0, h, level);
        for (int slot = 0; slot < n; ++slot)
          masses.push_back(
              tier.shape().masses ? std::exp(tier.score(slot, tier.shape().mass_lane())) : 1.0);
      }
      auto& sums = (*mass)[static_cast<size_t>(h)];
      sums.assign(total - exact, 0.0);
      // The largest probability of a row among the q_heads of the group.
      std::vector<std::vector<double>> largest(static_cast<size_t>(rows), sums);
      for (int g = 0; g < heads.gqa_ratio; ++g)
        for (int r = 0; r < rows; ++r) {
          const auto at = static_cast<size_t>((r * q_heads + h * heads.gqa_ratio + g) * d);
          const size_t visible = total - static_cast<size_t>(rows - 1 - r);
          std::vector<double> p(visible);
          double sum = 0;
          for (size_t t = 0; t < visible; ++t) {
            for (size_t c = 0; c < static_cast<size_t>(d); ++c)
              p[t] += static_cast<double>(q[at + c]) * k[t * static_cast<size_t>(d) + c];
            sum += p[t] = masses[t] * std::exp(p[t] / std::sqrt(d));
          }
          for (size_t t = 0; t < visible; ++t) {
            if (t >= exact && pipeline.scorer().observes_row(tokens - rows + r, tokens - 1)) {
              double& top = largest[static_cast<size_t>(r)][t - exact];
              const bool votes = pipeline.scorer().ballot() == Ballot::below_mean;
              const double given = !votes                                          ? p[t] / sum
                                   : p[t] / sum * static_cast<double>(visible) < 1 ? -1.0
                                                                                   : 0.0;
              const double more = given / (pipeline.gqa() == GqaAggregate::mean
                                               ? static_cast<double>(heads.gqa_ratio)
                                               : 1.0);
              const bool largest_counts = pipeline.gqa() == GqaAggregate::max && g > 0;
              sums[t - exact] += largest_counts ? std::max(0.0, more - top) : more;
              top = g > 0 ? std::max(top, more) : more;
            }
            for (size_t c = 0; c < static_cast<size_t>(d); ++c)
              out[at + c] += p[t] / sum * v[t * static_cast<size_t>(d) + c];
          }
        }
    }
    return out;
  }

  HeadCounts heads;
  ThreadPool pool;
  Pipeline pipeline;
  Sequence cache;
  DecodeAttention decode;
  PrefillAttention prefill;
  Rng rng{11};
  int tokens = 0;
};

double relative_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double error = 0, power = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    error += std::pow(found[i] - expected[i], 2);
    power += std::pow(expected[i], 2);
  }
  return std::sqrt(error / power);
}

void expect_close(const std::vector<float>& found, const std::vector<double>& expected,
                  const std::string& what) {
  EXPECT_LT(relative_error(found, expected), 2e-5) << what;
}

// Scores are what the scorer makes of the mass of the last `rows` rows.
void expect_scores_grew(const Fixture& f, const std::vector<std::vector<double>>& mass,
                        const std::vector<float>& before, int rows, const std::string& what) {
  if (!f.pipeline.levels()[0].scored) return;
  const Scorer& scorer = f.pipeline.scorer();
  int observed = 0;
  for (int r = 0; r < rows; ++r) observed += scorer.observes_row(f.tokens - 1 - r, f.tokens - 1);
  std::vector<float> expected = before;
  size_t i = 0;
  for (int h = 0; h < f.heads.kv_heads; ++h) {
    const auto& given = mass[static_cast<size_t>(h)];
    for (size_t t = 0; observed > 0 && t < given.size(); ++t)
      expected[i + t] = scorer.fade(observed) * expected[i + t] + static_cast<float>(given[t]);
    for (int slot = 0; slot < f.cache.tier(0, h, 0).size(); ++slot, ++i)
      EXPECT_NEAR(f.cache.tier(0, h, 0).score(slot), expected[i],
                  2e-4 + 0x1p-10 * std::fabs(expected[i]))  // an f16 step
          << what;
  }
}

std::vector<float> scores(const Fixture& f) {
  std::vector<float> all;
  if (!f.pipeline.levels()[0].scored) return all;
  for (int h = 0; h < f.heads.kv_heads; ++h)
    for (int slot = 0; slot < f.cache.tier(0, h, 0).size(); ++slot)
      all.push_back(f.cache.tier(0, h, 0).score(slot));
  return all;
}

// Every preset whose rows all lie in tiers, and the longest chain of transforms.
std::vector<std::string> plans_under_test() {
  std::vector<std::string> plans = {"mikv-h2o:transform=centre+balance+hadamard",
                                    "mikv-h2o:high=u8",
                                    "mikv:scorer=zipcache",
                                    "mikv-h2o:gqa=max",
                                    "mikv-h2o:gqa=mean",
                                    "scissorhands:gqa=max"};
  for (const PresetInfo& preset : presets())
    if (preset.plan.find("low=chunk") == std::string::npos) plans.push_back(preset.name);
  for (std::string& plan : plans)
    plan += std::string(plan.find(':') == std::string::npos ? ":" : ",") + "attend=exact";
  return plans;
}

constexpr Setting kSettings[] = {{2, 2, 64, 1}, {1, 4, 80, 2}, {3, 1, 32, 2}, {1, 20, 40, 1}};

TEST(Attention, DecodeEqualsTheOracleForEveryPreset) {
  for (const std::string& plan : plans_under_test())
    for (const Setting& setting : kSettings) {
      const std::string what = plan + " dim " + std::to_string(setting.dim);
      Fixture f(plan, setting);
      f.append(150);
      const auto prompt_q = f.normals(f.q_size(150));
      f.pipeline.observe_queries(0, prompt_q.data(), 150, setting.gqa, 0);
      f.demote(true);
      for (int step = 0; step < 20; ++step) {
        f.append(1);
        const auto before = scores(f);
        const auto q = f.normals(f.q_size(1));
        f.pipeline.observe_queries(0, q.data(), 1, setting.gqa, f.tokens - 1);
        std::vector<float> out(q.size());
        std::vector<std::vector<double>> mass;
        const auto expected = f.oracle(1, q, &mass);
        f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
        expect_close(out, expected, what);
        expect_scores_grew(f, mass, before, 1, what);
        f.demote(false);
      }
    }
}

// Blocks of the low tier that were coded with other factors than those before them.
TEST(Attention, EveryEpochIsReadWithItsOwnQuery) {
  for (const char* plan : {"mikv:transform=centre+balance:refresh=64,attend=exact",
                           "rtn4:transform=balance:refresh=64+hadamard,attend=exact",
                           "mikv-int8:transform=balance:refresh=64,attend=exact",
                           "mikv-int8:mid=u4,mid_keep=0.2,transform=balance:refresh=64,"
                           "attend=exact"}) {
    Fixture f(plan, {2, 3, 32, 2});
    std::vector<std::vector<double>> mass;
    for (int rows : {100, 80, 120, 90}) {
      f.append(rows);
      auto q = f.normals(f.q_size(rows));
      for (float& x : q) x *= static_cast<float>(rows);
      f.pipeline.observe_queries(0, q.data(), rows, 3, f.tokens - rows);
      f.demote(true);
    }
    EXPECT_GT(f.pipeline.transforms().epochs({0, 1}), 2) << plan;
    for (int rows : {1, 40}) {
      f.append(rows);
      const auto q = f.normals(f.q_size(rows));
      std::vector<float> out(q.size());
      const auto expected = f.oracle(rows, q, &mass);
      if (rows == 1)
        f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
      else
        f.prefill.attend(&f.cache, 0, rows, q.data(), out.data(), &f.pool);
      expect_close(out, expected, plan);
    }
  }
}

// Coded tiers of ragged sizes, keys and values in different layouts, under every instruction set.
TEST(Attention, DecodeEqualsTheOracleAtEverySizeOfACodedTier) {
  for (const KernelTable* table : runnable_kernels()) {
    const KernelsInUse use(*table);
    for (const char* layouts : {"u4,low.v=u4", "u3g32,low.v=u2", "u2,low.v=s8g32",
                                "s4g64,low.v=u3gt", "s4gt,low.v=s3gt", "s5gt,low.v=u5g32"})
      for (const int coded : {0, 1, 63, 64, 65, 127, 128, 129, 200}) {
        Fixture f(std::string("rtn4:low.k=") + layouts + ",attend=exact", {2, 3, 72, 2});
        f.append(coded);
        f.demote(true);
        ASSERT_EQ(f.cache.tier(0, 1, f.cache.levels() - 1).size(), coded);
        f.append(1);
        const auto q = f.normals(f.q_size(1));
        std::vector<float> out(q.size());
        std::vector<std::vector<double>> mass;
        const auto expected = f.oracle(1, q, &mass);
        f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
        expect_close(out, expected, fmt::format("{} {} {}", table->name, layouts, coded));
      }
  }
}

// What integers add on Gaussian data, against softmax in double precision over the same codes. A
// cache of 8-bit codes, which meet 14-bit factors, loses no more than an exact one is allowed to.
class OnGaussianData : public testing::TestWithParam<Setting> {};

TEST_P(OnGaussianData, IntegersAddLittle) {
  for (const std::string layout : {"u2", "u3", "u4", "u4gt", "u4g32", "s4g32", "s4gt", "s3gt", "u5",
                                   "s5gt", "u8", "s8g32", "c2", "c3", "c4", "u4,low.v=u2"}) {
    const bool mixed = layout.find(',') != std::string::npos;
    const std::string text = (mixed ? "rtn4:low.k=" : "rtn4:low=") + layout;
    for (const char* attend : {"integer", "exact"}) {
      Fixture f(text + ",attend=" + attend, GetParam());
      f.append(2000);
      f.demote(true);
      f.append(1);
      double worst = 0;
      for (int step = 0; step < 4; ++step) {
        const auto q = f.normals(f.q_size(1));
        std::vector<float> out(q.size());
        std::vector<std::vector<double>> mass;
        const auto expected = f.oracle(1, q, &mass);
        f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
        worst = std::max(worst, relative_error(out, expected));
      }
      const bool narrow = std::string(attend) == "integer" && layout[1] != '8';
      EXPECT_LT(worst, narrow ? 0.025 : 5e-4) << layout << " " << attend;
      RecordProperty(layout + "_" + attend, std::to_string(worst));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, OnGaussianData,
                         testing::Values(Setting{2, 4, 128, 1}, Setting{2, 1, 64, 1},
                                         Setting{1, 16, 96, 1}),
                         [](const auto& shape) {
                           return fmt::format("dim{}gqa{}", shape.param.dim, shape.param.gqa);
                         });

TEST(Attention, ExactTiersDoNotDependOnHowCodesAreRead) {
  std::vector<float> exact;
  for (const char* attend : {"exact", "integer"}) {
    Fixture f(std::string("mikv:keep=1,attend=") + attend, {2, 2, 64, 1});
    f.append(200);
    const auto q = f.normals(f.q_size(1));
    std::vector<float> out(q.size());
    f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
    if (exact.empty()) exact = out;
    EXPECT_EQ(out, exact);
  }
}

TEST(Attention, PrefillEqualsTheOracleForEveryPreset) {
  for (const std::string& plan : plans_under_test())
    for (const Setting& setting : kSettings) {
      const std::string what = plan + " dim " + std::to_string(setting.dim);
      Fixture f(plan, setting);
      for (int slice : {70, 2, 33}) {
        f.append(slice);
        const auto before = scores(f);
        const auto q = f.normals(f.q_size(slice));
        f.pipeline.observe_queries(0, q.data(), slice, setting.gqa, f.tokens - slice);
        std::vector<float> out(q.size());
        std::vector<std::vector<double>> mass;
        const auto expected = f.oracle(slice, q, &mass);
        f.prefill.attend(&f.cache, 0, slice, q.data(), out.data(), &f.pool);
        expect_close(out, expected, what);
        expect_scores_grew(f, mass, before, slice, what);
        f.demote(true);
      }
    }
}

// Pasts of several chunks on several levels, and slices of several items.
TEST(Attention, PrefillOverALongPastEqualsTheOracle) {
  for (const char* plan : {"mikv-h2o", "mikv-h2o:high=u8", "h2o:keep=0.9", "rtn4", "snapkv"})
    for (const Setting& setting : {Setting{2, 1, 8, 2}, Setting{1, 6, 24, 1}}) {
      Fixture f(plan, setting);
      for (int slice : {300, 260, 65}) {
        f.append(slice);
        const auto before = scores(f);
        const auto q = f.normals(f.q_size(slice));
        std::vector<float> out(q.size());
        std::vector<std::vector<double>> mass;
        const auto expected = f.oracle(slice, q, &mass);
        f.prefill.attend(&f.cache, 0, slice, q.data(), out.data(), &f.pool);
        expect_close(out, expected, plan);
        expect_scores_grew(f, mass, before, slice, plan);
        f.demote(slice == 300);
      }
    }
}

TEST(Attention, PrefillScratchDoesNotGrowWithTheContextUnlessScoresAreWanted) {
  const auto bytes = [](const char* plan, int past) {
    Fixture f(plan, {2, 2, 32, 2});
    f.append(past);
    const auto q = f.normals(f.q_size(64));
    std::vector<float> out(q.size());
    f.prefill.attend(&f.cache, 0, 64, q.data(), out.data(), &f.pool);
    return f.prefill.scratch_bytes();
  };
  EXPECT_LT(bytes("f16", 20000), bytes("f16", 1000) + 8192);
  // 128 queries a thread, 4 bytes each, and the mass of two heads.
  EXPECT_LT(bytes("h2o", 20000), bytes("f16", 20000) + 20000u * (2 * 128 * 4 + 2 * 4) * 3 / 2);
}

TEST(Attention, ResultsDoNotDependOnTheNumberOfThreads) {
  std::vector<float> reference;
  for (int threads : {1, 2, 5}) {
    Fixture f("mikv-c:scorer=h2o", {2, 2, 64, threads});
    f.append(5000);
    f.demote(true);
    f.append(1);
    const auto q = f.normals(f.q_size(1));
    std::vector<float> out(q.size());
    f.decode.attend(&f.cache, 0, q.data(), out.data(), &f.pool);
    const auto slice_q = f.normals(f.q_size(200));
    out.resize(out.size() + slice_q.size());
    f.append(199);
    f.prefill.attend(&f.cache, 0, 200, slice_q.data(), out.data() + q.size(), &f.pool);
    if (reference.empty()) reference = out;
    EXPECT_EQ(out, reference);
  }
}

// Items of sequences with plans and lengths of their own, from less than a block to several items a
// head: each gets the output and the scores it gets alone.
TEST(Attention, SequencesReadTogetherAsAlone) {
  const std::pair<const char*, int> subjects[] = {
      {"mikv-c:scorer=h2o", 5000}, {"f16", 3}, {"h2o", 700}, {"rtn2", 2200}, {"kvcrush", 130}};
  std::vector<std::vector<float>> outs, grown;
  for (int threads : {0, 1, 3, 5}) {  // 0: alone
    ThreadPool pool(std::max(threads, 1));
    std::vector<std::unique_ptr<Fixture>> fixtures;
    std::vector<std::vector<float>> queries, found;
    std::vector<DecodeRead> reads;
    for (const auto& [plan, rows] : subjects) {
      fixtures.push_back(std::make_unique<Fixture>(plan, Setting{2, 3, 64, 1}));
      Fixture& f = *fixtures.back();
      f.append(rows);
      f.demote(true);
      f.append(1);
      queries.push_back(f.normals(f.q_size(1)));
      found.emplace_back(f.q_size(1));
      reads.push_back({&f.decode, &f.cache, queries.back().data(), found.back().data()});
      if (threads == 0) DecodeAttention::attend({&reads.back(), 1}, 0, &pool);
    }
    if (threads == 0) {
      outs = found;
      for (const auto& f : fixtures) grown.push_back(scores(*f));
      continue;
    }
    DecodeAttention::attend(reads, 0, &pool);
    EXPECT_EQ(found, outs) << threads;
    for (size_t i = 0; i < fixtures.size(); ++i)
      EXPECT_EQ(scores(*fixtures[i]), grown[i]) << subjects[i].first << " " << threads;
  }
}

TEST(AttentionState, MergingAnyPartsInOrderEqualsTheWhole) {
  Rng rng(4);
  std::vector<float> logits(100), values(100);
  for (size_t i = 0; i < 100; ++i) {
    logits[i] = 20.0f * rng.normal();
    values[i] = rng.normal();
  }
  const auto part = [&](size_t first, size_t last, float* out) {
    AttentionState state;
    state.out = out;
    *out = 0;
    for (size_t i = first; i < last; ++i) state.max = std::max(state.max, logits[i]);
    for (size_t i = first; i < last; ++i) {
      state.sum += std::exp(logits[i] - state.max);
      *out += std::exp(logits[i] - state.max) * values[i];
    }
    return state;
  };
  float whole_out, total_out = 0, part_out;
  const AttentionState whole = part(0, 100, &whole_out);
  AttentionState total;
  total.out = &total_out;
  size_t first = 0;
  for (size_t last : {0, 1, 1, 40, 99, 100}) {
    merge(&total, part(first, last, &part_out), 1);
    first = last;
  }
  EXPECT_NEAR(total_out / total.sum, whole_out / whole.sum, 1e-6);
}

}  // namespace
}  // namespace kvkeep
