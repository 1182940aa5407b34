// The compression kernels alone: billions of values per second and core that quantize_tile and
// pack_keys or pack_values turn from rows in cache into codes, whole tiles and tiles split at a
// ragged slot. `kvkeep bench compress` measures the whole way down.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/aligned_buffer.h"
#include "base/rng.h"
#include "bench/measure.h"
#include "kernels/isa.h"

namespace kvkeep::bench {
namespace {

struct Rates {
  Spread key, value, key_split, value_split;  // 1e9 values a second
};

Rates measure(const KernelTable& table, const Layout& layout, int head_dim, int rounds) {
  const PartShape shape = part_shape(layout, head_dim);
  const auto id = static_cast<size_t>(layout.id);
  AlignedBuffer<std::byte> part(shape.bytes());
  AlignedBuffer<float> rows(static_cast<size_t>(kTileTokens * head_dim));
  Rng rng(1);
  for (float& x : rows.span()) x = rng.normal();
  TileCodes codes;
  const int repeats = std::string(table.name) == "scalar" ? 50 : 2000;
  const auto rate = [&](PackTileFn pack, int split) {
    const double seconds = cpu_seconds_of([&] {
      for (int i = 0; i < repeats; ++i) {
        for (const auto& [first, count] : {std::pair{0, split}, {split, kTileTokens - split}}) {
          if (count == 0) continue;
          table.quantize_tile[id](shape, rows.data() + first * head_dim, head_dim, first, count,
                                  &codes);
          pack(shape, codes, first, count, part.data(), i % kBlockTiles);
        }
        keep(part);
      }
    });
    return 1e-9 * static_cast<double>(repeats) * kTileTokens * head_dim / seconds;
  };
  std::vector<double> results[4];
  for (int round = -1; round < rounds; ++round) {
    const double all[] = {rate(table.pack_keys[id], kTileTokens),
                          rate(table.pack_values[id], kTileTokens), rate(table.pack_keys[id], 5),
                          rate(table.pack_values[id], 5)};
    for (size_t i = 0; i < 4 && round >= 0; ++i) results[i].push_back(all[i]);
  }
  return {spread_of(results[0]), spread_of(results[1]), spread_of(results[2]),
          spread_of(results[3])};
}

int run(int argc, char** argv) {
  CLI::App app("1e9 values a second and core that the compression kernels code, rows in cache");
  bool json = false;
  int rounds = 7, head_dim = 128;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("--rounds", rounds, "measured rounds")->check(CLI::Range(1, 1000));
  app.add_option("--head-dim", head_dim, "channels of a head")
      ->check(CLI::IsMember({8, 16, 32, 64, 80, 96, 128, 256, 512}));
  CLI11_PARSE(app, argc, argv);
  nlohmann::json results = nlohmann::json::array();
  if (!json)
    fmt::print(
        "1e9 values a second, head_dim {}; median (min-max)\n{:7} {:7} {:>19} {:>19} {:>19} "
        "{:>19}\n",
        head_dim, "isa", "layout", "K", "V", "K split 5+11", "V split 5+11");
  for (const KernelTable* table : runnable_kernels())
    for (int id = 0; id < kLayouts; ++id) {
      if (!table->quantize_tile[id]) continue;
      const Layout layout{static_cast<LayoutId>(id), kGroupHalf};
      const Rates r = measure(*table, layout, head_dim, rounds);
      results.push_back({{"isa", table->name},
                         {"layout", layout_name(layout)},
                         {"key", to_json(r.key)},
                         {"value", to_json(r.value)},
                         {"key_split", to_json(r.key_split)},
                         {"value_split", to_json(r.value_split)}});
      if (json) continue;
      const auto cell = [](const Spread& s) {
        return fmt::format("{:.2f} ({:.2f}-{:.2f})", s.median, s.min, s.max);
      };
      fmt::print("{:7} {:7} {:>19} {:>19} {:>19} {:>19}\n", table->name, layout_name(layout),
                 cell(r.key), cell(r.value), cell(r.key_split), cell(r.value_split));
    }
  if (json)
    fmt::print("{}\n",
               nlohmann::json{
                   {"schema", "kvkeep.pack_bench/1"}, {"head_dim", head_dim}, {"results", results}}
                   .dump(2));
  return 0;
}

}  // namespace
}  // namespace kvkeep::bench

int main(int argc, char** argv) { return kvkeep::bench::run(argc, argv); }
