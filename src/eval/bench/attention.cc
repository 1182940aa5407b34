#include "eval/bench/attention.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <sstream>

#include "attention/decode_attention.h"
#include "base/fail.h"
#include "eval/machine.h"
#include "kernels/kernel_table.h"

namespace kvkeep::bench {
namespace {

constexpr int kItemBlocks = 32;  // of one item of the read loop, as of one item of the attention

struct Piece {
  const std::byte* data;
  size_t bytes;
};
using Pieces = std::vector<std::vector<Piece>>;  // items, each some blocks of one tier

// One cache, read by all cases of its layouts.
struct Subject {
  LayoutPair layouts;
  std::unique_ptr<SyntheticCache> cache;
  Pieces pieces;
};

// One row to be: a cache read by one number of heads and threads, under one instruction set.
struct Case {
  Subject* subject;
  ThreadPool* pool;
  const KernelTable* isa;
  int gqa_ratio;
  DecodeAttention attention;
  AlignedBuffer<float> q = {}, out = {};
  std::vector<double> read = {}, attend = {};  // seconds a step, by round
};

// The blocks of the layouts in question; not those of the one exact row that coded caches have.
Pieces pieces_of(const SyntheticCache& cache, bool exact) {
  Pieces pieces;
  const SyntheticShape& shape = cache.shape();
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int head = 0; head < shape.kv_heads; ++head)
      for (int level = exact ? 0 : 1; level < cache.cache().levels(); ++level) {
        const Tier& tier = cache.cache().tier(layer, head, level);
        for (int b = 0; b < tier.blocks(); ++b) {
          if (b % kItemBlocks == 0) pieces.emplace_back();
          pieces.back().push_back({tier.k_part(b), tier.shape().k_bytes + tier.shape().v_bytes});
        }
      }
  return pieces;
}

int layers_for(const AttentionOptions& options, const LayoutPair& layouts, int head_dim,
               int context) {
  const double layer = token_bytes(layouts, head_dim) * context * options.kv_heads;
  return std::max(1, static_cast<int>(static_cast<double>(options.least_bytes) / layer + 0.999));
}

Result<std::vector<Subject>> make_subjects(const AttentionOptions& options,
                                           const std::vector<LayoutPair>& layouts, int head_dim,
                                           int context) {
  double bytes = 0;
  for (const LayoutPair& pair : layouts)
    bytes += token_bytes(pair, head_dim) * context * options.kv_heads *
             layers_for(options, pair, head_dim, context);
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  if (machine->memory_available > 0 && bytes > 0.8 * static_cast<double>(machine->memory_available))
    return bad_input(
        "{} layouts of {} tokens take {:.1f} GB, and {:.1f} GB are free; give fewer --layouts, a "
        "shorter --context or fewer --kv-heads",
        layouts.size(), context, bytes * 1e-9,
        static_cast<double>(machine->memory_available) * 1e-9);
  std::vector<Subject> subjects;
  for (const LayoutPair& pair : layouts) {
    const auto plan = plan_of(pair, options.attend);
    if (!plan) return tl::unexpected(plan.error());
    auto cache = SyntheticCache::make(
        *plan, {layers_for(options, pair, head_dim, context), options.kv_heads, head_dim, context});
    if (!cache) return tl::unexpected(cache.error());
    auto pieces = pieces_of(**cache, pair.exact());
    subjects.push_back({pair, *std::move(cache), std::move(pieces)});
  }
  return subjects;
}

std::unique_ptr<Case> make_case(Subject* subject, int gqa_ratio, ThreadPool* pool,
                                const KernelTable* isa) {
  const SyntheticShape& shape = subject->cache->shape();
  const HeadCounts heads{shape.kv_heads, gqa_ratio, shape.head_dim};
  auto made = std::unique_ptr<Case>(
      new Case{subject, pool, isa, gqa_ratio, DecodeAttention(&subject->cache->pipeline(), heads)});
  const auto count = static_cast<size_t>(shape.kv_heads * gqa_ratio);
  const auto rows = random_rows(count, shape.head_dim, 3);
  made->q.resize(rows.size());
  made->out.resize(rows.size());
  std::copy(rows.begin(), rows.end(), made->q.data());
  return made;
}

double read_step(const Case& c) {
  const Pieces& pieces = c.subject->pieces;
  return pool_seconds_of(*c.pool, [&] {
    c.pool->run(static_cast<int64_t>(pieces.size()), [&](int64_t item, int) {
      for (const Piece& piece : pieces[static_cast<size_t>(item)])
        keep(read_sum(piece.data, piece.bytes));
    });
  });
}

double attend_step(Case* c) {
  SyntheticCache& cache = *c->subject->cache;
  return pool_seconds_of(*c->pool, [&] {
    for (int layer = 0; layer < cache.shape().layers; ++layer)
      c->attention.attend(&cache.cache(), layer, c->q.data(), c->out.data(), c->pool);
  });
}

AttentionRow row_of(const Case& c, const Case& exact) {
  const SyntheticShape& shape = c.subject->cache->shape();
  const SyntheticShape& exact_shape = exact.subject->cache->shape();
  AttentionRow row{.layouts = c.subject->layouts,
                   .head_dim = shape.head_dim,
                   .gqa_ratio = c.gqa_ratio,
                   .kv_heads = shape.kv_heads,
                   .layers = shape.layers,
                   .context = shape.tokens,
                   .threads = c.pool->size(),
                   .isa = c.isa->name,
                   .kv_bytes = c.subject->cache->part_bytes()};
  const auto tokens = [](const SyntheticShape& of) {
    return static_cast<double>(of.layers) * of.kv_heads * of.tokens;
  };
  const auto bytes = static_cast<double>(row.kv_bytes);
  std::vector<double> ns, exact_ns, gb, read_gb;
  for (size_t i = 0; i < c.attend.size(); ++i) {
    ns.push_back(1e9 * c.attend[i] / tokens(shape));
    exact_ns.push_back(1e9 * exact.attend[i] / tokens(exact_shape));
    gb.push_back(1e-9 * bytes / c.attend[i]);
    read_gb.push_back(1e-9 * bytes / c.read[i]);
  }
  row.ns = spread_of(ns);
  row.gb_per_s = spread_of(gb);
  row.read_gb_per_s = spread_of(read_gb);
  row.fraction_of_read = ratio_of(gb, read_gb);
  row.speed_up_over_f16 = ratio_of(exact_ns, ns);
  return row;
}

// The rounds of the cases, as many as were complete for all; false if it was stopped.
bool run_rounds(const std::vector<std::unique_ptr<Case>>& cases, int rounds,
                const std::function<bool()>& tick) {
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    for (const auto& c : cases) {
      const KernelsInUse use(*c->isa);
      const double read = read_step(*c), attend = attend_step(c.get());
      if (!tick()) {
        for (const auto& other : cases) {
          other->read.resize(static_cast<size_t>(std::max(round, 0)));
          other->attend.resize(other->read.size());
        }
        return false;
      }
      if (round < 0) continue;
      c->read.push_back(read);
      c->attend.push_back(attend);
    }
  }
  return true;
}

}  // namespace

std::vector<LayoutPair> default_layouts() {
  std::vector<LayoutPair> pairs;
  for (int id = 0; id < kLayouts; ++id) {
    Layout layout{static_cast<LayoutId>(id), id == 0 ? 0 : kGroupHalf};
    if (by_channel(layout.id)) continue;  // keys only
    if (layout_kind(layout.id) == LayoutKind::codebook) layout.group = kGroupToken;
    pairs.push_back({layout, layout});
  }
  const Layout u4{LayoutId::u4, kGroupHalf}, u2{LayoutId::u2, kGroupHalf};
  pairs.push_back({u4, u2});
  pairs.push_back({u2, u4});
  return pairs;
}

Result<std::vector<const KernelTable*>> parse_isas(const std::string& text) {
  std::vector<const KernelTable*> tables;
  std::istringstream stream(text);
  for (std::string name; std::getline(stream, name, ',');) {
    const auto table = find_kernels(name);
    if (!table) return bad_input("--isas: {}", table.error().message);
    tables.push_back(*table);
  }
  return tables;
}

Result<AttentionResult> bench_attention(const AttentionOptions& options,
                                        const ProgressFn& progress) {
  std::vector<LayoutPair> layouts{{}};  // f16 first
  for (const LayoutPair& pair : options.layouts)
    if (std::find(layouts.begin(), layouts.end(), pair) == layouts.end()) layouts.push_back(pair);
  std::vector<std::unique_ptr<ThreadPool>> pools;
  for (int threads : options.threads) pools.push_back(std::make_unique<ThreadPool>(threads));
  const size_t groups = options.head_dims.size() * options.contexts.size();
  auto isas = options.isas;
  if (isas.empty()) isas.push_back(&kernels());
  const size_t variants = options.gqa_ratios.size() * pools.size() * isas.size();
  const auto total = static_cast<double>(groups * variants * layouts.size()) * (options.rounds + 1);
  double done = 0;
  const auto tick = [&] { return !progress || progress(++done, total); };

  AttentionResult result;
  for (int head_dim : options.head_dims)
    for (int context : options.contexts) {
      auto subjects = make_subjects(options, layouts, head_dim, context);
      if (!subjects) return tl::unexpected(subjects.error());
      std::vector<std::unique_ptr<Case>> cases;
      for (const auto& pool : pools)
        for (const KernelTable* isa : isas)
          for (int gqa_ratio : options.gqa_ratios)
            for (Subject& subject : *subjects)
              cases.push_back(make_case(&subject, gqa_ratio, pool.get(), isa));
      result.interrupted = !run_rounds(cases, options.rounds, tick);
      for (size_t i = 0; i < cases.size(); ++i)  // the f16 case leads each set of layouts
        if (!cases[i]->attend.empty())
          result.rows.push_back(row_of(*cases[i], *cases[i - i % layouts.size()]));
      if (result.interrupted) return result;
    }
  return result;
}

}  // namespace kvkeep::bench
