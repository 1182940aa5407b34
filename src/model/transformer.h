// The forward pass of a Llama-family decoder: the host of the cache, kept small.
//
// Prompts run in slices through float32 GEMM; single tokens, of one sequence or of several, through
// threaded GEMV that reads 16-bit or 8-bit weights. Attention is the site's business. No buffer
// grows with the context.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kvkeep/error.h"
#include "kvkeep/progress.h"
#include "model/config.h"
#include "model/tokenizer.h"

namespace kvkeep {

class Gguf;
struct KernelTable;

class Transformer {
 public:
  // Reads configuration and weights; the file may be closed afterwards only if no tensor is used in
  // place, so the Transformer keeps what it needs alive.
  static Result<std::shared_ptr<const Transformer>> load(const std::string& path);
  static Result<std::shared_ptr<const Transformer>> make(std::shared_ptr<const Gguf> file);
  ~Transformer();

  const ModelConfig& config() const;
  const Tokenizer& tokenizer() const;
  uint64_t fingerprint() const;  // of configuration and weights
  size_t weight_bytes() const;   // in memory
  int64_t parameters() const;

  static constexpr int kSliceTokens = 256;

  // Feeds tokens[n] (n <= kSliceTokens) at first_position; logits (may be null) receives
  // [n][vocab] if all_logits, else [vocab] of the last token. Deterministic for given inputs,
  // whatever the number of threads.
  struct Scratch;  // activations of one running sequence; make one per session
  // Runs on the selected kernels (isa.h) unless a table is named.
  std::unique_ptr<Scratch, void (*)(Scratch*)> make_scratch(
      const KernelTable* table = nullptr) const;
  static size_t scratch_bytes(const Scratch& scratch);
  Result<void> forward(std::span<const int32_t> tokens, int first_position, AttentionSite& site,
                       ThreadPool& pool, Scratch& scratch, float* logits, bool all_logits) const;
  // Feeds one token each of n sequences (n <= kSliceTokens), token t at positions[t]; the site
  // knows whose row is whose. Weights are read once for all. logits (may be null) receives
  // [n][vocab], each row the same bits as from forward() of that token alone.
  Result<void> forward_each(std::span<const int32_t> tokens, std::span<const int> positions,
                            AttentionSite& site, ThreadPool& pool, Scratch& scratch,
                            float* logits) const;

 private:
  friend class FirstLayer;
  Transformer();
  Result<void> check(std::span<const int32_t> tokens, std::span<const int> positions) const;
  struct Impl;
  struct Pass;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvkeep
