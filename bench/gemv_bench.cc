// How fast weights stream through GEMV: bytes a second over a set of matrices larger than the
// last-level cache, beside a plain read of as many bytes in the same round. Decoding one token of
// a model is little else. Goal: at least 0.60 of the read bandwidth.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "base/rng.h"
#include "bench/measure.h"
#include "kernels/isa.h"

namespace kvkeep::bench {
namespace {

constexpr int64_t kRows = 4096, kColumns = 4096, kRowsPerItem = 64;

// Matrices of one format, back to back, in at least `bytes` bytes.
struct Matrices {
  const char* format;
  GemvFn gemv;
  size_t row_bytes;
  int64_t count;
  AlignedBuffer<std::byte> data;

  size_t bytes() const { return static_cast<size_t>(count * kRows) * row_bytes; }
};

Matrices make_matrices(const char* format, GemvFn gemv, size_t row_bytes, size_t bytes) {
  const size_t matrix = row_bytes * kRows;
  const size_t count = (bytes + matrix - 1) / matrix;
  return {format, gemv, row_bytes, static_cast<int64_t>(count),
          AlignedBuffer<std::byte>(count * matrix)};
}

void fill_f16(Matrices& matrices) {
  Rng rng(1);
  auto* words = reinterpret_cast<F16*>(matrices.data.data());
  for (size_t i = 0; i < matrices.bytes() / 2; ++i)
    words[i] = static_cast<F16>(0x2000 + (rng.next() & 0x9fff));  // about +-[0.008, 2)
}

void fill_q8_0(Matrices& matrices) {
  Rng rng(2);
  for (size_t block = 0; block < matrices.bytes() / 34; ++block) {
    std::byte* at = matrices.data.data() + 34 * block;
    const F16 scale = f32_to_f16(0.01f);
    std::memcpy(at, &scale, 2);
    for (int i = 0; i < 4; ++i) {
      const uint64_t codes = rng.next();
      std::memcpy(at + 2 + 8 * i, &codes, 8);
    }
  }
}

double gemv_seconds(ThreadPool& pool, const Matrices& matrices, const float* x, float* y) {
  return seconds_of([&] {
    for (int64_t matrix = 0; matrix < matrices.count; ++matrix)
      pool.run(kRows / kRowsPerItem, [&](int64_t item, int) {
        const int64_t row = item * kRowsPerItem;
        const auto at = static_cast<size_t>(matrix * kRows + row) * matrices.row_bytes;
        matrices.gemv(matrices.data.data() + at, x, y + row, kRowsPerItem, kColumns);
      });
  });
}

struct Row {
  std::string format;
  int threads;
  Spread gb_per_s, read_gb_per_s, fraction;
};

Row measure(ThreadPool& pool, const Matrices& matrices, int rounds) {
  AlignedBuffer<float> x(kColumns), y(kRows);
  for (float& value : x.span()) value = 0.5f;
  std::vector<double> speeds, reads, fractions;
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    const double read = read_seconds(pool, matrices.data.data(), matrices.bytes());
    const double gemv = gemv_seconds(pool, matrices, x.data(), y.data());
    keep(y[0]);
    if (round < 0) continue;
    const double gb = 1e-9 * static_cast<double>(matrices.bytes());
    speeds.push_back(gb / gemv);
    reads.push_back(gb / read);
    fractions.push_back(read / gemv);
  }
  return {matrices.format, pool.size(), spread_of(speeds), spread_of(reads), spread_of(fractions)};
}

void print_table(const std::vector<Row>& rows, size_t mib) {
  fmt::print("gemv {}x{}, {} MiB a format, isa {}; median (min-max)\n", kRows, kColumns, mib,
             kernels().name);
  fmt::print("{:8} {:>7} {:>20} {:>20} {:>18}\n", "format", "threads", "GB/s", "read GB/s",
             "fraction of read");
  const auto cell = [](const Spread& s) {
    return fmt::format("{:.1f} ({:.1f}-{:.1f})", s.median, s.min, s.max);
  };
  for (const Row& row : rows)
    fmt::print("{:8} {:>7} {:>20} {:>20} {:>5.2f} ({:.2f}-{:.2f})\n", row.format, row.threads,
               cell(row.gb_per_s), cell(row.read_gb_per_s), row.fraction.median, row.fraction.min,
               row.fraction.max);
}

void print_json(const std::vector<Row>& rows, size_t mib) {
  nlohmann::json json = {{"schema", "kvkeep.gemv_bench/1"},
                         {"isa", kernels().name},
                         {"mib", mib},
                         {"results", nlohmann::json::array()}};
  for (const Row& row : rows)
    json["results"].push_back({{"format", row.format},
                               {"threads", row.threads},
                               {"gb_per_s", to_json(row.gb_per_s)},
                               {"read_gb_per_s", to_json(row.read_gb_per_s)},
                               {"fraction_of_read", to_json(row.fraction)}});
  fmt::print("{}\n", json.dump(2));
}

int run(int argc, char** argv) {
  CLI::App app("GEMV bandwidth against a read loop");
  bool json = false;
  int rounds = 7;
  size_t mib = 256;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("--rounds", rounds, "measured rounds")->check(CLI::Range(1, 1000));
  app.add_option("--mib", mib, "weights of each format")->check(CLI::Range(1, 65536));
  CLI11_PARSE(app, argc, argv);
  const auto selected = select_kernels();
  if (!selected) {
    fmt::print(stderr, "gemv_bench: {}\n", selected.error().message);
    return 2;
  }
  Matrices f16 = make_matrices("f16", (*selected)->gemv_f16, 2 * kColumns, mib << 20);
  Matrices q8_0 = make_matrices("q8_0", (*selected)->gemv_q8_0, kColumns / 32 * 34, mib << 20);
  fill_f16(f16);
  fill_q8_0(q8_0);
  std::vector<Row> rows;
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    for (const Matrices* matrices : {&f16, &q8_0}) rows.push_back(measure(pool, *matrices, rounds));
  }
  json ? print_json(rows, mib) : print_table(rows, mib);
  return 0;
}

}  // namespace
}  // namespace kvkeep::bench

int main(int argc, char** argv) { return kvkeep::bench::run(argc, argv); }
