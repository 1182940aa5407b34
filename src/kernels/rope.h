// Rotary position embedding (Su et al. 2021) for both pair orders, with the frequency scaling of
// Llama 3 and linear interpolation. Pure rotation: apply(+1) then apply(-1) restores the row up to
// float32 rounding. The cache needs it too (key centring undoes it), so it lives below the model.
#pragma once

#include <cstdint>
#include <vector>

namespace kvkeep {

struct RopeConfig {
  int dim = 0;                 // channels rotated, <= head_dim; the rest pass through
  float base = 10000.0f;       // theta
  bool interleaved = true;     // pairs (2i, 2i+1), as GGUF `llama`; else (i, i + dim/2), as `qwen2`
  float linear_factor = 1.0f;  // positions are divided by it
  bool llama3 = false;         // frequency bands of Llama 3.1 and later
  float llama3_factor = 8.0f, low_freq_factor = 1.0f, high_freq_factor = 4.0f;
  int original_context = 8192;
  std::vector<float> factors = {};  // optional divisor of each frequency ("rope_freqs"), [dim/2]

  bool operator==(const RopeConfig&) const = default;
};

class Rope {
 public:
  explicit Rope(const RopeConfig& config);

  // Rotates one head's row [head_dim] to `position`, or back with direction = -1.
  void apply(float* row, int position, int direction = 1) const;

  // The same in two steps, for many heads at one position: fills cos and sin [dim/2], then rotates.
  // Equal to apply() bit for bit.
  void angles(int position, float* cos, float* sin) const;
  void rotate(float* row, const float* cos, const float* sin, int direction = 1) const;

  const RopeConfig& config() const { return config_; }
  const std::vector<double>& frequencies() const { return frequencies_; }  // [dim/2], radians

 private:
  RopeConfig config_;
  std::vector<double> frequencies_;
};

}  // namespace kvkeep
