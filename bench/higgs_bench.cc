// The HIGGS row codec alone: millions of values per second and core that it encodes and decodes, by
// grid and length of rows.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "base/rng.h"
#include "bench/measure.h"
#include "codec/higgs.h"

namespace kvkeep::bench {
namespace {

constexpr int kRows = 64;

struct Rates {
  Spread encode, decode;  // 1e6 values a second
};

Rates measure(const Grid& grid, int d, int rounds) {
  const auto higgs = Higgs::make({grid.p, grid.n}, d);
  KVKEEP_CHECK(higgs.has_value(), "{} points in {}, rows of {}", grid.n, grid.p, d);
  Rng rng(1);
  std::vector<float> rows(static_cast<size_t>(kRows * d)), back(rows.size());
  for (float& x : rows) x = rng.normal();
  std::vector<std::byte> codes(kRows * higgs->row_bytes());
  std::vector<double> encode, decode;
  const double values = 1e-6 * static_cast<double>(rows.size());
  for (int round = -1; round < rounds; ++round) {
    const double in = cpu_seconds_of([&] {
      KVKEEP_CHECK(higgs->encode(rows.data(), kRows, codes.data()).has_value(), "{}", d);
    });
    const double out = cpu_seconds_of([&] { higgs->decode(codes.data(), kRows, back.data()); });
    if (round < 0) continue;
    encode.push_back(values / in);
    decode.push_back(values / out);
  }
  return {spread_of(encode), spread_of(decode)};
}

int run(int argc, char** argv) {
  CLI::App app("1e6 values a second and core that HIGGS encodes and decodes");
  bool json = false;
  int rounds = 21;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("--rounds", rounds, "measured rounds")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  nlohmann::json results = nlohmann::json::array();
  if (!json)
    fmt::print("1e6 values a second; median (min-max)\n{:>2} {:>4} {:>5} {:>22} {:>22}\n", "p", "n",
               "d", "encode", "decode");
  for (const Grid& grid : grids())
    for (const int d : {64, 192, 256, 1024}) {
      const Rates r = measure(grid, d, rounds);
      results.push_back({{"p", grid.p},
                         {"n", grid.n},
                         {"d", d},
                         {"encode", to_json(r.encode)},
                         {"decode", to_json(r.decode)}});
      const auto cell = [](const Spread& s) {
        return fmt::format("{:.0f} ({:.0f}-{:.0f})", s.median, s.min, s.max);
      };
      if (!json)
        fmt::print("{:>2} {:>4} {:>5} {:>22} {:>22}\n", grid.p, grid.n, d, cell(r.encode),
                   cell(r.decode));
    }
  if (json)
    fmt::print("{}\n",
               nlohmann::json{{"schema", "kvkeep.higgs_bench/1"}, {"results", results}}.dump(2));
  return 0;
}

}  // namespace
}  // namespace kvkeep::bench

int main(int argc, char** argv) { return kvkeep::bench::run(argc, argv); }
