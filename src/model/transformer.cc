#include "model/transformer.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "kernels/isa.h"
#include "model/transformer_impl.h"

namespace kvkeep {
namespace {

Result<Tokenizer> make_tokenizer(const Gguf& file, int vocab) {
  Result<TokenizerSpec> spec = read_tokenizer_spec(file);
  if (!spec) return tl::unexpected(std::move(spec).error());
  Result<Tokenizer> tokenizer = Tokenizer::make(std::move(*spec));
  if (!tokenizer) return bad_input("'{}': {}", file.path(), tokenizer.error().message);
  if (tokenizer->vocab_size() > vocab)
    return bad_input("'{}': the tokenizer has {} tokens, but token_embd.weight has {} rows",
                     file.path(), tokenizer->vocab_size(), vocab);
  return tokenizer;
}

}  // namespace

Transformer::Transformer() = default;
Transformer::~Transformer() = default;

Result<std::shared_ptr<const Transformer>> Transformer::load(const std::string& path) {
  Result<Gguf> file = Gguf::open(path);
  if (!file) return tl::unexpected(std::move(file).error());
  return make(std::make_shared<const Gguf>(std::move(*file)));
}

Result<std::shared_ptr<const Transformer>> Transformer::make(std::shared_ptr<const Gguf> file) {
  Result<ModelConfig> config = read_config(*file);
  if (!config) return tl::unexpected(std::move(config).error());
  Result<Weights> weights = load_weights(*file, *config);
  if (!weights) return tl::unexpected(std::move(weights).error());
  Result<Tokenizer> tokenizer = make_tokenizer(*file, config->vocab);
  if (!tokenizer) return tl::unexpected(std::move(tokenizer).error());
  const uint64_t hash = kvkeep::fingerprint(*file, *config);
  Rope rope(config->rope);
  std::shared_ptr<Transformer> model(new Transformer());
  model->impl_.reset(new Impl{std::move(file), std::move(*config), std::move(*tokenizer),
                              std::move(*weights), std::move(rope), hash});
  return std::shared_ptr<const Transformer>(std::move(model));
}

const ModelConfig& Transformer::config() const { return impl_->config; }
const Tokenizer& Transformer::tokenizer() const { return impl_->tokenizer; }
uint64_t Transformer::fingerprint() const { return impl_->fingerprint; }
size_t Transformer::weight_bytes() const { return impl_->weights.bytes; }
int64_t Transformer::parameters() const { return impl_->weights.parameters; }

Transformer::Scratch::Scratch(const ModelConfig& config, const KernelTable& table)
    : kernels(&table) {
  const auto tokens_of = [](int64_t width) { return static_cast<size_t>(kSliceTokens * width); };
  for (auto* buffer : {&x, &normed}) buffer->resize(tokens_of(config.dim));
  for (auto* buffer : {&q, &attention}) buffer->resize(tokens_of(config.q_dim()));
  for (auto* buffer : {&k, &v}) buffer->resize(tokens_of(config.kv_dim()));
  for (auto* buffer : {&gate, &up}) buffer->resize(tokens_of(config.ffn_dim));
  for (auto* buffer : {&cosines, &sines}) buffer->resize(tokens_of(config.rope.dim / 2));
  linear.panel_floats = panel_floats(std::max({config.dim, config.q_dim(), config.ffn_dim}));
}

std::unique_ptr<Transformer::Scratch, void (*)(Transformer::Scratch*)> Transformer::make_scratch(
    const KernelTable* table) const {
  const KernelTable& kernels_used = table != nullptr ? *table : kernels();
  return {new Scratch(impl_->config, kernels_used), [](Scratch* scratch) { delete scratch; }};
}

size_t Transformer::scratch_bytes(const Scratch& s) {
  size_t bytes = sizeof(Scratch) + s.linear.panels.bytes();
  for (const auto* buffer :
       {&s.x, &s.normed, &s.q, &s.attention, &s.k, &s.v, &s.gate, &s.up, &s.cosines, &s.sines})
    bytes += buffer->bytes();
  return bytes;
}

}  // namespace kvkeep
