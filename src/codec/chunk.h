// A chunk: some tokens across all layers, coded once as what is left of them after prediction.
//
//   chunk = header, [positions], [token numbers], fallback bits, [means],
//           [layers][K codes][V codes]
//
// Rows are all kv_heads of a token joined, keys before RoPE. Layer l is predicted from layer l-1 as
// the decoder has it (closed loop), so layers are coded and decoded in order and errors do not pile
// up. Encoder and decoder share the code that predicts, and every step has a fixed order: what is
// decoded is the same bits as what was encoded against, on every machine and for any grouping.
//
// A share of the chunks (fine=) has the finest grid at all layers, evenly between the others: it
// takes bytes that no whole number of exact rows would use, since those come in blocks.
//
// A calibration cannot hurt: where a prediction leaves more than the rows' own variance, the chunk
// stores its own mean of that layer and side instead (one bit says so).
//
// Layer 0 may be no codes at all but the tokens' numbers (first=token): its keys before RoPE and
// its values come from the embedding alone (model/first_layer.h), and are then exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "codec/calibration.h"
#include "codec/crush.h"
#include "codec/higgs.h"
#include "kvkeep/error.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct ChunkShape {
  int layers = 0, kv_heads = 0, head_dim = 0;
  int width() const { return kv_heads * head_dim; }
};

inline constexpr int kMostChunkRows = 1024;

// Layer 0 of tokens as their model makes it: keys before RoPE and values [tokens][width], bit for
// bit the same for any grouping, with weights as float32.
struct TokenRows {
  int vocab = 0;
  std::function<void(std::vector<float>* key, std::vector<float>* value)> unpack;
  std::function<void(std::span<const int32_t> tokens, std::span<const float> key,
                     std::span<const float> value, float* keys, float* values)>
      read;

  size_t token_bytes() const { return vocab <= 65536 ? 2 : 4; }
};

// What residuals are coded with.
struct ChunkQuantizers {
  Higgs key, value, first;              // of keys, of values, of both at layer 0
  Higgs finest;                         // of all of them in a fine chunk
  std::optional<Higgs> representative;  // where those of chunks have a grid of their own
  std::string key_name, value_name, first_name;
  bool from_tokens = false;  // layer 0 is not coded; `first` is not used
  bool codes_values = true;  // else values above layer 0 are what is predicted; `value` is not used

  bool codes(int layer, Side side) const {
    return layer == 0 ? !from_tokens : side == Side::key || codes_values;
  }

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
  bool fine = false;
  size_t tokens = 0, flags = 0, means = 0, codes = 0;

  int position(int row) const;
  bool falls_back(int layer, Side side) const;
};

class ChunkCodec {
 public:
  // bad_input: the plan needs a calibration and there is none, or it is another plan's or shape's.
  // tokens.read is there where the plan takes layer 0 from tokens.
  static Result<ChunkCodec> make(const Plan& plan, const ChunkShape& shape,
                                 std::shared_ptr<const Calibration> calibration,
                                 TokenRows tokens = {});

  // One layer's predictor weights as float32.
  struct Weights {
    std::vector<float> key, value;
  };
  void unpack(int layer, Weights* weights) const;

  // keys, values [rows][width] of a layer; false ends the encoding with an error.
  using ReadLayer = std::function<void(int layer, float* keys, float* values)>;
  // positions ascend, at most kMostChunkRows; numbers of the tokens that stand there, where layer 0
  // is from tokens. An error names the layer and what is not finite.
  Result<Chunk> encode(std::span<const int32_t> positions, const ReadLayer& read,
                       std::span<const int32_t> tokens = {}, bool fine = false) const;
  // Whether the n-th chunk of a sequence is a fine one.
  bool is_fine(size_t n) const;

  // Layer `layer` of rows first .. first+count-1: keys, values [count][width] hold the layer below
  // as decoded, and then this one.
  void decode(const Chunk& chunk, int layer, const Weights& weights, int first, int count,
              float* keys, float* values) const;

  // bad_input unless the bytes are a whole, undamaged chunk of this codec.
  Result<Chunk> parse(std::span<const std::byte> bytes) const;

  const ChunkShape& shape() const { return shape_; }
  const Calibration* calibration() const { return calibration_.get(); }
  const ChunkQuantizers& quantizers() const { return quantizers_; }
  bool from_tokens() const { return quantizers_.from_tokens; }
  // Codes of a chunk of so many rows, scales with them: of one layer and side, and of all.
  size_t side_bytes(int layer, Side side, int rows, bool fine = false) const;
  size_t code_bytes(int rows, bool fine = false) const;
  double paper_bits_per_value() const;

 private:
  ChunkCodec(const ChunkShape& shape, std::shared_ptr<const Calibration> calibration,
             ChunkQuantizers quantizers, const CrushForm& form, TokenRows tokens, double fine);
  Crush make_coder(const CrushForm& form, const Higgs& other) const {
    return {form, shape_.kv_heads, quantizers_.representative.value_or(other), other};
  }
  const Crush& coder(int layer, Side side, bool fine) const {
    return fine ? finest_ : layer == 0 ? first_ : side == Side::key ? key_ : value_;
  }
  void predict(int layer, Side side, const Weights& weights, const float* keys_below,
               const float* values_below, const float* keys, int rows, float* out) const;
  Result<bool> encode_side(int layer, Side side, int n, bool fine, std::vector<float>* predicted,
                           std::vector<float>* rows, std::byte* codes,
                           std::vector<std::byte>* means) const;
  Chunk assemble(bool fine, std::span<const int32_t> positions, std::span<const int32_t> tokens,
                 std::span<const std::byte> flags, std::span<const std::byte> means,
                 std::span<const std::byte> codes) const;
  size_t token_bytes() const { return from_tokens() ? tokens_.token_bytes() : 0; }
  void decode_tokens(const Chunk& chunk, const Weights& weights, int first, int count, float* keys,
                     float* values) const;
  const std::byte* codes(const Chunk& chunk, int layer, Side side) const;
  void decode_side(const Chunk& chunk, int layer, Side side, int first, int count,
                   float* rows) const;

  ChunkShape shape_;
  std::shared_ptr<const Calibration> calibration_;
  ChunkQuantizers quantizers_;
  Crush key_, value_, first_, finest_;
  TokenRows tokens_;
  double fine_;  // share of chunks
};

}  // namespace kvkeep
