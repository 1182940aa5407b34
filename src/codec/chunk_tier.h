// The tokens of a sequence that lie in chunks, and one layer of them at a time in float32.
//
// Chunks are written once and shared by forks. A forward pass reads layer after layer: read_layer()
// turns the scratch from layer l-1 into layer l, as the prediction needs it, so that no more than
// one layer is ever unpacked. That scratch is working memory (8 bytes a value of one layer); it is
// reported apart from the cache and given back by release().
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "codec/chunk.h"
#include "kernels/rope.h"

namespace kvkeep {

class ChunkTier {
 public:
  ChunkTier(std::shared_ptr<const ChunkCodec> codec, const RopeConfig& rope);
  ChunkTier fork() const;  // shares the chunks

  // Token numbers as they come: those of the positions from `first` on. Kept only where layer 0 is
  // read from tokens.
  void see(int first, std::span<const int32_t> tokens);
  void forget(int from);  // positions that were taken back

  int rows() const { return rows_; }
  const ChunkCodec& codec() const { return *codec_; }
  const std::vector<std::shared_ptr<const Chunk>>& chunks() const { return chunks_; }

  // Codes rows at ascending positions into chunks of at most `most` rows. read gives keys after
  // RoPE and values [count][width] of rows first .. first+count-1; called from several threads.
  using ReadRows = std::function<void(int layer, int first, int count, float* keys, float* values)>;
  Result<void> append(std::span<const int32_t> positions, int most, const ReadRows& read,
                      ThreadPool* pool);

  // Makes a layer readable: the one after the last, or any, at the price of those before it.
  void read_layer(int layer, ThreadPool* pool);
  // Of the readable layer: keys after RoPE and values [count][head_dim] of rows first ..
  void read(int kv_head, int first, int count, float* keys, float* values) const;

  void release();  // gives the scratch back

  size_t bytes() const;               // of this sequence: chunks and their list
  size_t code_bytes() const;          // of these, grid indices and references
  size_t scale_bytes() const;         // of these, scales, means and what a header holds
  size_t shared_chunk_bytes() const;  // of these, in chunks that forks hold as well
  size_t scratch_bytes() const;

 private:
  void advance(int layer, ThreadPool* pool);
  void make_waves();

  std::shared_ptr<const ChunkCodec> codec_;
  Rope rope_;
  std::vector<std::shared_ptr<const Chunk>> chunks_;
  std::vector<int32_t> tokens_;  // by position
  int rows_ = 0;
  int layer_ = -1;                      // that is readable
  AlignedBuffer<float> keys_, values_;  // [rows][width] of it, keys before RoPE
  AlignedBuffer<float> waves_;          // [waved_][cosines, sines] of their positions
  int waved_ = 0;
  ChunkCodec::Weights weights_;
};

}  // namespace kvkeep
