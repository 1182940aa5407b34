// A chunk: some tokens across all layers, coded once as what is left of them after prediction.
//
//   chunk = header, [positions], fallback bits, [means], [layers][K codes][V codes]
//
// Rows are all kv_heads of a token joined, keys before RoPE. Layer l is predicted from layer l-1 as
// the decoder has it (closed loop), so layers are coded and decoded in order and errors do not pile
// up. Encoder and decoder share the code that predicts, and every step has a fixed order: what is
// decoded is the same bits as what was encoded against, on every machine and for any grouping.
//
// A calibration cannot hurt: where a prediction leaves more than the rows' own variance, the chunk
// stores its own mean of that layer and side instead (one bit says so).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "codec/calibration.h"
#include "codec/higgs.h"
#include "kvkeep/error.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct ChunkShape {
  int layers = 0, kv_heads = 0, head_dim = 0;
  int width() const { return kv_heads * head_dim; }
};

inline constexpr int kMostChunkRows = 1024;

// What residuals are coded with.
struct ChunkQuantizers {
  Higgs key, value, first;  // of keys, of values, of both at layer 0
  std::string key_name, value_name, first_name;

  static Result<ChunkQuantizers> make(const Plan& plan, int width);
  const Higgs& of(int layer, Side side) const {
    return layer == 0 ? first : side == Side::key ? key : value;
  }
  const std::string& name(int layer, Side side) const {
    return layer == 0 ? first_name : side == Side::key ? key_name : value_name;
  }
};

// A chunk's bytes, and where its parts begin in them.
struct Chunk {
  std::vector<std::byte> bytes;
  int rows = 0;
  size_t flags = 0, means = 0, codes = 0;

  int position(int row) const;
  bool falls_back(int layer, Side side) const;
};

class ChunkCodec {
 public:
  // bad_input: the plan needs a calibration and there is none, or it is another plan's or shape's.
  static Result<ChunkCodec> make(const Plan& plan, const ChunkShape& shape,
                                 std::shared_ptr<const Calibration> calibration);

  // One layer's predictor weights as float32.
  struct Weights {
    std::vector<float> key, value;
  };
  void unpack(int layer, Weights* weights) const;

  // keys, values [rows][width] of a layer; false ends the encoding with an error.
  using ReadLayer = std::function<void(int layer, float* keys, float* values)>;
  // positions ascend, at most kMostChunkRows. An error names the layer and what is not finite.
  Result<Chunk> encode(std::span<const int32_t> positions, const ReadLayer& read) const;

  // Layer `layer` of rows first .. first+count-1: keys, values [count][width] hold the layer below
  // as decoded, and then this one.
  void decode(const Chunk& chunk, int layer, const Weights& weights, int first, int count,
              float* keys, float* values) const;

  // bad_input unless the bytes are a whole, undamaged chunk of this codec.
  Result<Chunk> parse(std::span<const std::byte> bytes) const;

  const ChunkShape& shape() const { return shape_; }
  const Calibration* calibration() const { return calibration_.get(); }
  const ChunkQuantizers& quantizers() const { return quantizers_; }
  size_t row_bytes() const;  // codes of a row, all layers
  double paper_bits_per_value() const;

 private:
  ChunkCodec(const ChunkShape& shape, std::shared_ptr<const Calibration> calibration,
             ChunkQuantizers quantizers)
      : shape_(shape), calibration_(std::move(calibration)), quantizers_(std::move(quantizers)) {}
  void predict(int layer, Side side, const Weights& weights, const float* keys_below,
               const float* values_below, const float* keys, int rows, float* out) const;
  Result<bool> encode_side(int layer, Side side, int n, std::vector<float>* predicted,
                           std::vector<float>* rows, std::byte* codes,
                           std::vector<std::byte>* means) const;
  Chunk assemble(std::span<const int32_t> positions, std::span<const std::byte> flags,
                 std::span<const std::byte> means, std::span<const std::byte> codes) const;
  const std::byte* codes(const Chunk& chunk, int layer, Side side) const;
  void decode_side(const Chunk& chunk, int layer, Side side, int first, int count,
                   float* rows) const;

  ChunkShape shape_;
  std::shared_ptr<const Calibration> calibration_;
  ChunkQuantizers quantizers_;
};

}  // namespace kvkeep
