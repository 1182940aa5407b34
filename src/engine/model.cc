#include "kvkeep/model.h"

#include "model/transformer.h"

namespace kvkeep {

Result<Model> Model::load(const std::string& path) {
  auto transformer = Transformer::load(path);
  if (!transformer) return tl::unexpected(transformer.error());
  Model model;
  model.transformer_ = *std::move(transformer);
  const ModelConfig& config = model.transformer_->config();
  model.info_ = {path,
                 config.name,
                 config.architecture,
                 config.layers,
                 config.q_heads,
                 config.kv_heads,
                 config.head_dim,
                 config.dim,
                 config.vocab,
                 config.context,
                 model.transformer_->parameters(),
                 model.transformer_->weight_bytes(),
                 model.transformer_->fingerprint()};
  return model;
}

std::vector<int32_t> Model::encode(std::string_view text, bool add_bos) const {
  return transformer_->tokenizer().encode(text, add_bos);
}

std::string Model::decode(const std::vector<int32_t>& tokens) const {
  return transformer_->tokenizer().decode(tokens);
}

bool Model::adds_bos() const { return transformer_->tokenizer().adds_bos(); }
int Model::eos() const { return transformer_->tokenizer().eos(); }

}  // namespace kvkeep
