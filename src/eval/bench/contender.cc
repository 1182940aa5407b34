#include "eval/bench/contender.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/fail.h"
#include "engine/batch_attention.h"
#include "eval/bench/measure.h"
#include "eval/bench/synthetic.h"
#include "eval/measure.h"
#include "model/transformer.h"

namespace kvkeep::bench {
namespace {

using Sites = std::vector<std::unique_ptr<CompressedAttention>>;

class Own : public Contender {
 public:
  Own(const Model& model, const Plan& plan, Sites sites, ThreadPool* pool)
      : model_(model),
        plan_(plan),
        sites_(std::move(sites)),
        pool_(pool),
        scratch_(model.transformer()->make_scratch()),
        logits_(sites_.size() * static_cast<size_t>(model.info().vocab)) {}

  std::string engine() const override { return kOwnEngine; }
  std::string mode() const override { return plan_.typed(); }
  int tokens() const override { return sites_[0]->tokens(); }
  size_t cache_bytes() const override {
    size_t bytes = 0;
    for (const auto& site : sites_) bytes += site->resident_bytes();
    return bytes;
  }

  Result<double> decode(int steps) override {
    Result<void> done;
    const double seconds = seconds_of([&] {
      for (int i = 0; i < steps && done; ++i) done = step();
    });
    if (!done) return tl::unexpected(done.error());
    return seconds / static_cast<double>(sites_.size());
  }

  Result<void> fill(int depth, bool made_up_rows) {
    for (size_t i = 0; i < sites_.size(); ++i) {
      KVKEEP_TRY(made_up_rows ? make_up(sites_[i].get(), depth, i + 1)
                              : read(sites_[i].get(), depth, i + 1));
      KVKEEP_TRY(sites_[i]->demote(true));
    }
    return {};
  }

 private:
  // What Session::step does.
  Result<void> step() {
    std::vector<CompressedAttention*> all;
    for (const auto& site : sites_) all.push_back(site.get());
    const std::vector<int> positions(sites_.size(), tokens());
    const std::vector<int32_t> ids(sites_.size(), 3 + tokens() % (model_.info().vocab - 3));
    BatchAttention batch(all, pool_);
    KVKEEP_TRY(model_.transformer()->forward_each(ids, positions, batch, *pool_, *scratch_,
                                                  logits_.data()));
    for (size_t i = 0; i < sites_.size(); ++i) {
      KVKEEP_TRY(batch.result(i));
      KVKEEP_TRY(sites_[i]->demote(false));
    }
    return {};
  }

  Result<void> read(CompressedAttention* site, int depth, uint64_t seed) {
    const auto tokens = random_tokens(model_.info().vocab, depth, seed);
    for (size_t first = 0; first < tokens.size();) {
      const size_t n = std::min<size_t>(Transformer::kSliceTokens, tokens.size() - first);
      KVKEEP_TRY(model_.transformer()->forward(std::span(tokens).subspan(first, n), site->tokens(),
                                               *site, *pool_, *scratch_, logits_.data(), false));
      first += n;
    }
    return {};
  }

  Result<void> make_up(CompressedAttention* site, int depth, uint64_t seed) {
    const AttentionShape& shape = site->shape();
    const int slice = Transformer::kSliceTokens;
    const auto rows =
        random_rows(static_cast<size_t>(2 * slice * shape.kv_heads), shape.head_dim, seed);
    AttentionCall call;
    call.k = rows.data();
    call.v = rows.data() + rows.size() / 2;
    for (int first = 0; first < depth; first += slice)
      for (int layer = 0; layer < shape.layers; ++layer) {
        call.layer = layer;
        call.first_position = first;
        call.tokens = std::min(slice, depth - first);
        KVKEEP_TRY(site->append(call));
      }
    return {};
  }

  const Model& model_;
  Plan plan_;
  Sites sites_;
  ThreadPool* pool_;
  std::unique_ptr<Transformer::Scratch, void (*)(Transformer::Scratch*)> scratch_;
  std::vector<float> logits_;  // [sequences][vocab]
};

class Other : public Contender {
 public:
  Other(Rival* rival, std::string engine, std::string mode, int id, int depth, size_t bytes)
      : rival_(rival),
        engine_(std::move(engine)),
        mode_(std::move(mode)),
        id_(id),
        tokens_(depth),
        bytes_(bytes) {}
  ~Other() override { (void)rival_->ask({{"do", "close"}, {"id", id_}}); }

  std::string engine() const override { return engine_; }
  std::string mode() const override { return mode_; }
  int tokens() const override { return tokens_; }
  size_t cache_bytes() const override { return bytes_; }

  Result<double> decode(int steps) override {
    const auto answer = rival_->ask({{"do", "decode"}, {"id", id_}, {"steps", steps}});
    // Its threads may spin on for a moment.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (!answer) return tl::unexpected(answer.error());
    tokens_ += steps;
    if (const auto seconds = answer->find("seconds");
        seconds != answer->end() && seconds->is_number())
      return seconds->get<double>();
    return failed("rival: {} gave no seconds", mode_);
  }

 private:
  Rival* rival_;
  std::string engine_, mode_;
  int id_, tokens_;
  size_t bytes_;
};

}  // namespace

Result<std::unique_ptr<Contender>> make_own(const Model& model, const Plan& plan,
                                            const OwnCaches& caches, ThreadPool* pool) {
  const ModelConfig& config = model.transformer()->config();
  Sites sites;
  for (int i = 0; i < caches.sequences; ++i) {
    auto site = CompressedAttention::make(plan, config.attention_shape(), config.rope,
                                          caches.depth + caches.room, pool);
    if (!site) return tl::unexpected(site.error());
    sites.push_back(*std::move(site));
  }
  auto own = std::make_unique<Own>(model, plan, std::move(sites), pool);
  KVKEEP_TRY(own->fill(caches.depth, caches.made_up_rows));
  return own;
}

Result<std::unique_ptr<Contender>> make_rival(Rival* rival, const std::string& engine,
                                              const std::string& mode, const Model& model,
                                              int depth, int room, int threads) {
  const auto answer = rival->ask({{"do", "open"},
                                  {"model", model.info().path},
                                  {"mode", mode},
                                  {"depth", depth},
                                  {"room", room},
                                  {"threads", threads}});
  if (!answer) return tl::unexpected(answer.error());
  return std::make_unique<Other>(rival, engine, mode, answer->value("id", 0), depth,
                                 answer->value("cache_bytes", size_t{0}));
}

}  // namespace kvkeep::bench
