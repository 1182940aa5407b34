#include "kvkeep/session.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>

#include "base/fail.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "engine/batch_attention.h"
#include "engine/cache_report.h"
#include "engine/compressed_attention.h"
#include "engine/find_calibration.h"
#include "engine/tier_map.h"
#include "kernels/isa.h"
#include "model/transformer.h"

namespace kvkeep {
namespace {

tl::unexpected<Error> in_session(size_t i, Error error) {
  error.message = fmt::format("session {} of the step: {}", i, error.message);
  return tl::unexpected(std::move(error));
}

}  // namespace

struct Session::Impl {
  Impl(const Model& from, const Plan& with, int threads)
      : model(from), plan(with), pool(threads), scratch(from.transformer()->make_scratch()) {}

  Result<void> check_tokens(std::span<const int32_t> fed) const;
  Result<void> feed_slice(std::span<const int32_t> slice, float* rows, bool all);
  Result<void> take_logits(std::span<const float> from);
  Result<void> demote(bool flush, bool more_prompt, ThreadPool* with);
  Result<void> demote(bool flush, bool more_prompt = false) {
    return demote(flush, more_prompt, &pool);
  }
  static Result<void> check_batch(std::span<Session* const> sessions,
                                  std::span<const int32_t> tokens);
  static Result<void> step_each(std::span<Impl* const> all, std::span<const int32_t> tokens);

  Model model;
  Plan plan;
  ThreadPool pool;
  std::unique_ptr<CompressedAttention> site;
  std::unique_ptr<Transformer::Scratch, void (*)(Transformer::Scratch*)> scratch;
  std::vector<float> logits;     // [vocab]
  std::vector<float> step_rows;  // [sessions][vocab] of the steps that this session led
  int context = 0;
  bool broken = false;  // an error left the layers at different lengths
  Rng rng{0};
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(const Model& model, const Plan& plan,
                                const SessionOptions& options) {
  if (options.threads < 0 || options.threads > 1024)
    return bad_input("threads {} is not in 0 to 1024", options.threads);
  if (options.context < 0 || options.context > model.info().context)
    return bad_input("context {} is not in 1 to {}, the model's", options.context,
                     model.info().context);
  if (auto table = select_kernels(); !table) return tl::unexpected(table.error());
  auto impl =
      std::make_unique<Impl>(model, plan, options.threads ? options.threads : hardware_threads());
  impl->context = options.context ? options.context : model.info().context;
  const ModelConfig& config = model.transformer()->config();
  auto calibration = find_calibration(model, plan, options.calibration);
  if (!calibration) return tl::unexpected(calibration.error());
  auto site =
      CompressedAttention::make(plan, config.attention_shape(), config.rope, impl->context,
                                &impl->pool, *std::move(calibration), token_rows(model, plan));
  if (!site) return tl::unexpected(site.error());
  impl->site = *std::move(site);
  return Session(std::move(impl));
}

Result<void> Session::Impl::check_tokens(std::span<const int32_t> fed) const {
  const int done = site->tokens(), vocab = model.info().vocab;
  if (broken) return failed("this session ended with an earlier error");
  if (fed.size() > static_cast<size_t>(context - done))
    return bad_input("{} tokens do not fit: {} of {} in the context are taken", fed.size(), done,
                     context);
  for (int32_t token : fed)
    if (token < 0 || token >= vocab)
      return bad_input("token {} is not in 0 to {}", token, vocab - 1);
  return {};
}

// One slice through the model; rows [1 or slice.size()][vocab] of logits.
Result<void> Session::Impl::feed_slice(std::span<const int32_t> slice, float* rows, bool all) {
  broken = true;  // until the slice is through all layers
  try {
    KVKEEP_TRY(
        model.transformer()->forward(slice, site->tokens(), *site, pool, *scratch, rows, all));
  } catch (const std::bad_alloc&) {
    return failed("out of memory at position {}", site->tokens());
  }
  return take_logits({rows, (all ? slice.size() : 1) * static_cast<size_t>(model.info().vocab)});
}

// Of the last rows fed, [rows][vocab]: with them the feed is through.
Result<void> Session::Impl::take_logits(std::span<const float> from) {
  if (std::any_of(from.begin(), from.end(), [](float x) { return !std::isfinite(x); }))
    return failed("the model's logits are not finite at or before position {}", site->tokens() - 1);
  std::copy(from.end() - model.info().vocab, from.end(), logits.begin());
  broken = false;
  return {};
}

Result<void> Session::feed(std::span<const int32_t> fed, std::vector<float>* all_logits,
                           const ProgressFn& progress) {
  KVKEEP_TRY(impl_->check_tokens(fed));
  const auto vocab = static_cast<size_t>(impl_->model.info().vocab);
  if (all_logits) all_logits->assign(fed.size() * vocab, 0.0f);
  if (!fed.empty()) impl_->logits.resize(vocab);
  for (size_t first = 0; first < fed.size();) {
    const size_t n = std::min<size_t>(Transformer::kSliceTokens, fed.size() - first);
    float* rows = all_logits ? all_logits->data() + first * vocab : impl_->logits.data();
    KVKEEP_TRY(impl_->feed_slice(fed.subspan(first, n), rows, all_logits != nullptr));
    first += n;
    if (progress && !progress(static_cast<double>(first), static_cast<double>(fed.size()))) {
      if (all_logits) all_logits->resize(first * vocab);
      return cancelled();
    }
  }
  return {};
}

Result<void> Session::Impl::demote(bool flush, bool more_prompt, ThreadPool* with) {
  if (broken) return failed("this session ended with an earlier error");
  try {
    if (auto done = site->demote(flush, more_prompt, with); !done) {
      broken = true;
      return done;
    }
  } catch (const std::bad_alloc&) {
    broken = true;
    return failed("out of memory while compressing {} tokens", site->tokens());
  }
  return {};
}

Result<void> Session::compress() { return impl_->demote(true); }

Result<void> Session::prefill(std::span<const int32_t> prompt, const ProgressFn& progress) {
  KVKEEP_TRY(impl_->check_tokens(prompt));
  const auto slice = static_cast<size_t>(impl_->site->pipeline().budget().slice());
  size_t done = 0;
  const ProgressFn tell = [&](double part, double) {
    return !progress ||
           progress(static_cast<double>(done) + part, static_cast<double>(prompt.size()));
  };
  for (; slice > 0 && prompt.size() - done > slice; done += slice) {
    KVKEEP_TRY(feed(prompt.subspan(done, slice), nullptr, tell));
    KVKEEP_TRY(impl_->demote(true, true));
  }
  KVKEEP_TRY(feed(prompt.subspan(done), nullptr, tell));
  return compress();
}

Result<void> Session::step(int32_t token) {
  KVKEEP_TRY(feed({&token, 1}));
  return impl_->demote(false);
}

// Who cannot take part, before anything is fed.
Result<void> Session::Impl::check_batch(std::span<Session* const> sessions,
                                        std::span<const int32_t> fed) {
  constexpr size_t kMost = Transformer::kSliceTokens;
  if (sessions.empty() || sessions.size() > kMost)
    return bad_input("{} sessions in one step, allowed are 1 to {}", sessions.size(), kMost);
  if (sessions.size() != fed.size())
    return bad_input("{} tokens for {} sessions, allowed is one each", fed.size(), sessions.size());
  for (size_t i = 0; i < sessions.size(); ++i) {
    if (sessions[i] == nullptr) return bad_input("session {} of the step is null", i);
    const auto first = std::find(sessions.begin(), sessions.end(), sessions[i]);
    if (const auto at = static_cast<size_t>(first - sessions.begin()); at < i)
      return bad_input("sessions {} and {} of the step are the same", at, i);
    const Impl& own = *sessions[i]->impl_;
    if (own.model.transformer() != sessions[0]->impl_->model.transformer())
      return bad_input("session {} of the step is not of the model of session 0", i);
    if (auto able = own.check_tokens(fed.subspan(i, 1)); !able)
      return in_session(i, std::move(able).error());
  }
  return {};
}

// One token each through the model, then down the ladders; the first one leads with its threads.
Result<void> Session::Impl::step_each(std::span<Impl* const> all, std::span<const int32_t> fed) {
  Impl& lead = *all[0];
  const auto vocab = static_cast<size_t>(lead.model.info().vocab);
  std::vector<CompressedAttention*> sites;
  std::vector<int> positions;
  for (Impl* own : all) {
    own->broken = true;  // until its token is through all layers
    own->logits.resize(vocab);
    sites.push_back(own->site.get());
    positions.push_back(own->site->tokens());
  }
  BatchAttention batch(std::move(sites), &lead.pool);
  try {
    lead.step_rows.resize(all.size() * vocab);
    KVKEEP_TRY(lead.model.transformer()->forward_each(fed, positions, batch, lead.pool,
                                                      *lead.scratch, lead.step_rows.data()));
  } catch (const std::bad_alloc&) {
    return failed("out of memory in a step of {} sessions", all.size());
  }
  Result<void> first_error;
  for (size_t i = 0; i < all.size(); ++i) {
    Result<void> done = batch.result(i);
    if (done) done = all[i]->take_logits(std::span(lead.step_rows).subspan(i * vocab, vocab));
    if (done) done = all[i]->demote(false, false, &lead.pool);
    if (!done && first_error) first_error = in_session(i, std::move(done).error());
  }
  return first_error;
}

Result<void> Session::step(std::span<Session* const> sessions, std::span<const int32_t> tokens) {
  KVKEEP_TRY(Impl::check_batch(sessions, tokens));
  std::vector<Impl*> all;
  for (Session* session : sessions) all.push_back(session->impl_.get());
  return Impl::step_each(all, tokens);
}

Result<void> Session::rollback(int n) {
  if (impl_->broken) return failed("this session ended with an earlier error");
  if (n < 0 || n > tokens())
    return bad_input("{} tokens cannot be taken back: allowed are 0 to {}", n, tokens());
  if (n == 0) return {};
  if (const int most = impl_->site->most_taken_back(); n > most)
    return bad_input(
        "{} tokens cannot be taken back: allowed are 0 to {}, the others are in chunks or on a "
        "level that stores no positions; a larger budget window keeps more of them exact",
        n, most);
  impl_->site->take_back(n);
  impl_->logits.clear();
  return {};
}

Result<Session> Session::fork(int threads) const {
  if (impl_->broken) return failed("this session ended with an earlier error");
  if (threads < 0 || threads > 1024) return bad_input("threads {} is not in 0 to 1024", threads);
  auto copy =
      std::make_unique<Impl>(impl_->model, impl_->plan, threads ? threads : impl_->pool.size());
  copy->site = impl_->site->fork(&copy->pool);
  copy->logits = impl_->logits;
  copy->context = impl_->context;
  copy->rng = impl_->rng;
  return Session(std::move(copy));
}

std::span<const float> Session::logits() const {
  if (tokens() == 0) return {};
  return impl_->logits;
}

int32_t Session::sample(float temperature, float top_p) {
  const std::vector<float>& logits = impl_->logits;
  if (logits.empty()) return -1;
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0.0f) return static_cast<int32_t>(best - logits.begin());
  std::vector<double> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    weights[i] = std::exp(static_cast<double>(logits[i] - *best) / temperature);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  if (top_p < 1.0f)
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return weights[static_cast<size_t>(a)] > weights[static_cast<size_t>(b)];
    });
  const double limit = top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0.0;
  size_t kept = 0;
  while (kept < order.size() && (kept == 0 || mass < limit))
    mass += weights[static_cast<size_t>(order[kept++])];
  double point = impl_->rng.uniform() * mass;
  for (size_t i = 0; i + 1 < kept; ++i)
    if ((point -= weights[static_cast<size_t>(order[i])]) < 0.0) return order[i];
  return order[kept - 1];
}

void Session::seed(uint64_t seed) { impl_->rng = Rng(seed); }
int Session::tokens() const { return impl_->site->tokens(); }
int Session::context() const { return impl_->context; }
int Session::threads() const { return impl_->pool.size(); }

CacheReport Session::report(bool per_layer) const {
  return report_cache(*impl_->site, impl_->plan, per_layer);
}

TierMap Session::tier_map() const { return map_tiers(*impl_->site); }

}  // namespace kvkeep
