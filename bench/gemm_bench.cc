// Which BLAS multiplies a prompt's activations by its weights: GFLOP/s of gemm_nt (the library
// behind kernels/gemm.cc) and, where installed, of oneDNN, one thread, interleaved rounds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/aligned_buffer.h"
#include "base/rng.h"
#include "bench/measure.h"
#include "bench/onednn_gemm.h"
#include "kernels/gemm.h"

namespace kvkeep::bench {
namespace {

struct Shape {
  int m, n, k;
};
constexpr Shape kShapes[] = {{256, 256, 256},   {256, 1024, 256}, {256, 256, 1024},
                             {256, 1024, 1024}, {256, 2048, 512}, {256, 512, 2048},
                             {256, 2048, 2048}, {64, 1024, 128},  {64, 128, 1024}};

using Gemm = void (*)(const Shape&, const float* a, const float* b, float* c);

void run_ours(const Shape& s, const float* a, const float* b, float* c) {
  gemm_nt(s.m, s.n, s.k, 1.0f, a, s.k, b, s.k, 0.0f, c, s.n);
}

void run_onednn(const Shape& s, const float* a, const float* b, float* c) {
  onednn_gemm_nt(s.m, s.n, s.k, a, b, c);
}

struct Library {
  const char* name;
  Gemm gemm;
};

std::vector<Library> libraries() {
  std::vector<Library> all = {{"gemm_nt", run_ours}};
  if (have_onednn()) all.push_back({"onednn", run_onednn});
  return all;
}

// GFLOP/s of each library for one shape; a round runs all libraries, each for about 20 ms.
std::vector<Spread> measure(const std::vector<Library>& libraries, const Shape& shape, int rounds) {
  const auto size = [](int rows, int columns) { return static_cast<size_t>(rows * columns); };
  AlignedBuffer<float> a(size(shape.m, shape.k)), b(size(shape.n, shape.k));
  AlignedBuffer<float> c(size(shape.m, shape.n));
  Rng rng(1);
  for (float& x : a.span()) x = rng.normal();
  for (float& x : b.span()) x = rng.normal();
  const double flops = 2.0 * shape.m * shape.n * shape.k;
  const int repeats = 1 + static_cast<int>(1e9 / flops);
  std::vector<std::vector<double>> speeds(libraries.size());
  for (int round = -1; round < rounds; ++round)  // the first warms up
    for (size_t i = 0; i < libraries.size(); ++i) {
      const double seconds = cpu_seconds_of([&] {
        for (int repeat = 0; repeat < repeats; ++repeat)
          libraries[i].gemm(shape, a.data(), b.data(), c.data());
      });
      keep(c[0]);
      if (round >= 0) speeds[i].push_back(1e-9 * flops * repeats / seconds);
    }
  std::vector<Spread> spreads;
  for (const auto& rounds_of : speeds) spreads.push_back(spread_of(rounds_of));
  return spreads;
}

int run(int argc, char** argv) {
  CLI::App app("GFLOP/s of matrix products, one thread");
  bool json = false;
  int rounds = 7;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("--rounds", rounds, "measured rounds")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  const auto all = libraries();
  nlohmann::json results = nlohmann::json::array();
  if (!json) fmt::print("GFLOP/s, one thread; median (min-max)\n");
  for (const Shape& shape : kShapes) {
    const auto speeds = measure(all, shape, rounds);
    for (size_t i = 0; i < speeds.size(); ++i) {
      const Spread& s = speeds[i];
      results.push_back({{"library", all[i].name},
                         {"m", shape.m},
                         {"n", shape.n},
                         {"k", shape.k},
                         {"gflop_per_s", to_json(s)}});
      if (!json)
        fmt::print("m {:4} n {:4} k {:4}  {:8} {:6.1f} ({:.1f}-{:.1f})\n", shape.m, shape.n,
                   shape.k, all[i].name, s.median, s.min, s.max);
    }
  }
  if (json)
    fmt::print("{}\n",
               nlohmann::json{{"schema", "kvkeep.gemm_bench/1"}, {"results", results}}.dump(2));
  return 0;
}

}  // namespace
}  // namespace kvkeep::bench

int main(int argc, char** argv) { return kvkeep::bench::run(argc, argv); }
