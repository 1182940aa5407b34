// The block kernels alone: nanoseconds for one cached token of one kv head (K scored, V
// accumulated, all heads of the group) with the blocks inside the L2 cache, for every layout.
// `kvkeep bench attention` measures whole reads from memory; this shows what the kernels cost.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "base/rng.h"
#include "bench/measure.h"
#include "kernels/isa.h"

namespace kvkeep::bench {
namespace {

constexpr int kBlocks = 8;

struct Blocks {
  PartShape shape;
  AlignedBuffer<std::byte> data;  // [kBlocks][bytes]
};

Blocks make_blocks(const Layout& layout, int head_dim, Side side) {
  Blocks blocks{part_shape(layout, head_dim), {}};
  blocks.data.resize(kBlocks * blocks.shape.bytes());
  Rng rng(1);
  RowCodes row{};
  F16 words[kMaxHeadDim];
  for (int slot = 0; slot < kBlocks * kBlockTokens; ++slot) {
    std::byte* part =
        blocks.data.data() + static_cast<size_t>(slot / kBlockTokens) * blocks.shape.bytes();
    for (int d = 0; d < head_dim; ++d) {
      row.codes[d] = static_cast<uint8_t>(rng.below(uint64_t{1} << layout_bits(layout.id)));
      words[d] = static_cast<F16>(0x3000 + rng.below(0x400));
    }
    for (int group = 0; group < blocks.shape.groups; ++group)
      row.scales[group] = row.minima[group] = 0x3000;
    if (layout.id == LayoutId::f16)
      put_row_f16(blocks.shape, side, part, slot % kBlockTokens, words);
    else
      put_row(blocks.shape, side, part, slot % kBlockTokens, row);
  }
  return blocks;
}

struct Times {
  Spread score, accumulate, read;  // ns a token
};

Times measure(const KernelTable& table, const Layout& layout, bool integer, int head_dim, int heads,
              int rounds) {
  const Blocks keys = make_blocks(layout, head_dim, Side::key);
  const Blocks values = make_blocks(layout, head_dim, Side::value);
  const auto id = static_cast<size_t>(layout.id);
  AlignedBuffer<float> q(16 * kMaxHeadDim), logits(16 * kBlockTokens), out(16 * kMaxHeadDim);
  AlignedBuffer<float> rows(static_cast<size_t>(kBlockTokens * head_dim));
  for (float& x : q.span()) x = 0.01f;
  std::vector<QueryCodes> codes(16);
  if (integer)
    table.quantize_query[id](keys.shape, q.data(), keys.shape.padded_dim, heads, codes.data());
  const auto accumulate_fn = integer ? table.accumulate_codes[id] : table.accumulate_block[id];
  const int repeats = std::string(table.name) == "scalar" ? 20 : 400;
  const double tokens = static_cast<double>(repeats) * kBlocks * kBlockTokens;
  const auto each = [&](const auto& work) {
    return 1e9 / tokens * cpu_seconds_of([&] {
             for (int i = 0; i < repeats * kBlocks; ++i) work(static_cast<size_t>(i % kBlocks));
           });
  };
  std::vector<double> score, accumulate, read;
  for (int round = -1; round < rounds; ++round) {
    const double s = each([&](size_t i) {
      const std::byte* part = keys.data.data() + i * keys.shape.bytes();
      if (integer)
        table.score_codes[id](keys.shape, part, nullptr, kBlockTokens, codes.data(), heads,
                              logits.data());
      else
        table.score_block[id](keys.shape, part, nullptr, kBlockTokens, q.data(),
                              keys.shape.padded_dim, heads, logits.data());
    });
    for (float& x : logits.span()) x = 0.01f;
    const double a = each([&](size_t i) {
      accumulate_fn(values.shape, values.data.data() + i * values.shape.bytes(), nullptr,
                    kBlockTokens, logits.data(), heads, out.data(), head_dim);
    });
    const double r = each([&](size_t i) {
      table.read_keys[id](keys.shape, keys.data.data() + i * keys.shape.bytes(), 0, kBlockTokens,
                          rows.data(), head_dim);
      table.read_values[id](values.shape, values.data.data() + i * values.shape.bytes(), 0,
                            kBlockTokens, rows.data(), head_dim);
    });
    if (round < 0) continue;
    score.push_back(s);
    accumulate.push_back(a);
    read.push_back(r);
  }
  return {spread_of(score), spread_of(accumulate), spread_of(read)};
}

int run(int argc, char** argv) {
  CLI::App app("ns per kv head and token of the block kernels, blocks in cache");
  bool json = false;
  int rounds = 7, head_dim = 128, heads = 4;
  std::string isa, only;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("--rounds", rounds, "measured rounds")->check(CLI::Range(1, 1000));
  app.add_option("--head-dim", head_dim, "channels of a head")
      ->check(CLI::IsMember({8, 16, 32, 64, 80, 96, 128, 256, 512}));
  app.add_option("--isa", isa, "this instruction set alone");
  app.add_option("--layout", only, "this layout alone, as u4");
  app.add_option("--gqa-ratio", heads, "query heads of a kv head")->check(CLI::Range(1, 16));
  CLI11_PARSE(app, argc, argv);
  nlohmann::json results = nlohmann::json::array();
  if (!json)
    fmt::print(
        "ns per kv head and token, head_dim {}, gqa_ratio {}; median (min-max)\n"
        "{:7} {:7} {:8} {:>20} {:>20} {:>8} {:>20}\n",
        head_dim, heads, "isa", "layout", "attend", "score", "accumulate", "both", "read rows");
  for (const KernelTable* table : runnable_kernels())
    for (int row = 0; row < 2 * kLayouts; ++row) {
      const int id = row / 2;
      const bool integer = row % 2 == 1;
      if ((id == 0 && integer) || by_channel(static_cast<LayoutId>(id))) continue;
      const Layout layout{static_cast<LayoutId>(id), id == 0 ? 0 : kGroupHalf};
      if ((!isa.empty() && isa != table->name) || (!only.empty() && only != layout_name(layout)))
        continue;
      const Times t = measure(*table, layout, integer, head_dim, heads, rounds);
      results.push_back({{"isa", table->name},
                         {"layout", layout_name(layout)},
                         {"attend", integer ? "integer" : "exact"},
                         {"score_ns", to_json(t.score)},
                         {"accumulate_ns", to_json(t.accumulate)},
                         {"read_ns", to_json(t.read)}});
      if (json) continue;
      const auto cell = [](const Spread& s) {
        return fmt::format("{:.2f} ({:.2f}-{:.2f})", s.median, s.min, s.max);
      };
      fmt::print("{:7} {:7} {:8} {:>20} {:>20} {:>8.2f} {:>20}\n", table->name, layout_name(layout),
                 integer ? "integer" : "exact", cell(t.score), cell(t.accumulate),
                 t.score.median + t.accumulate.median, cell(t.read));
    }
  if (json)
    fmt::print("{}\n", nlohmann::json{{"schema", "kvkeep.attend_bench/1"},
                                      {"head_dim", head_dim},
                                      {"gqa_ratio", heads},
                                      {"results", results}}
                           .dump(2));
  return 0;
}

}  // namespace
}  // namespace kvkeep::bench

int main(int argc, char** argv) { return kvkeep::bench::run(argc, argv); }
