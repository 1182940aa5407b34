#include "eval/bench/contender.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/fail.h"
#include "engine/compressed_attention.h"
#include "eval/bench/measure.h"
#include "eval/bench/synthetic.h"
#include "eval/measure.h"
#include "model/transformer.h"

namespace kvkeep::bench {
namespace {

class Own : public Contender {
 public:
  Own(const Model& model, const Plan& plan, std::unique_ptr<CompressedAttention> site,
      ThreadPool* pool)
      : model_(model),
        plan_(plan),
        site_(std::move(site)),
        pool_(pool),
        scratch_(model.transformer()->make_scratch()),
        logits_(static_cast<size_t>(model.info().vocab)) {}

  std::string engine() const override { return kOwnEngine; }
  std::string mode() const override { return plan_.typed(); }
  int tokens() const override { return site_->tokens(); }
  size_t cache_bytes() const override { return site_->resident_bytes(); }

  Result<double> decode(int steps) override {
    Result<void> done;
    const double seconds = seconds_of([&] {
      for (int i = 0; i < steps && done; ++i) {
        const int32_t token = 3 + site_->tokens() % (model_.info().vocab - 3);
        done = feed({&token, 1});
        site_->demote(false);
      }
    });
    if (!done) return tl::unexpected(done.error());
    return seconds;
  }

  Result<void> read(int depth) {
    const auto tokens = random_tokens(model_.info().vocab, depth, 1);
    for (size_t first = 0; first < tokens.size();) {
      const size_t n = std::min<size_t>(Transformer::kSliceTokens, tokens.size() - first);
      KVKEEP_TRY(feed(std::span(tokens).subspan(first, n)));
      first += n;
    }
    site_->demote(true);
    return {};
  }

  Result<void> make_up(int depth) {
    const AttentionShape& shape = site_->shape();
    const int slice = Transformer::kSliceTokens;
    const auto rows =
        random_rows(static_cast<size_t>(2 * slice * shape.kv_heads), shape.head_dim, 1);
    AttentionCall call;
    call.k = rows.data();
    call.v = rows.data() + rows.size() / 2;
    for (int first = 0; first < depth; first += slice)
      for (int layer = 0; layer < shape.layers; ++layer) {
        call.layer = layer;
        call.first_position = first;
        call.tokens = std::min(slice, depth - first);
        KVKEEP_TRY(site_->append(call));
      }
    site_->demote(true);
    return {};
  }

 private:
  Result<void> feed(std::span<const int32_t> tokens) {
    return model_.transformer()->forward(tokens, site_->tokens(), *site_, *pool_, *scratch_,
                                         logits_.data(), false);
  }

  const Model& model_;
  Plan plan_;
  std::unique_ptr<CompressedAttention> site_;
  ThreadPool* pool_;
  std::unique_ptr<Transformer::Scratch, void (*)(Transformer::Scratch*)> scratch_;
  std::vector<float> logits_;
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

Result<std::unique_ptr<Contender>> make_own(const Model& model, const Plan& plan, int depth,
                                            int room, bool made_up_rows, ThreadPool* pool) {
  const ModelConfig& config = model.transformer()->config();
  auto site =
      CompressedAttention::make(plan, config.attention_shape(), config.rope, depth + room, pool);
  if (!site) return tl::unexpected(site.error());
  auto own = std::make_unique<Own>(model, plan, *std::move(site), pool);
  KVKEEP_TRY(made_up_rows ? own->make_up(depth) : own->read(depth));
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
