#include "codec/calibration.h"

#include <xxhash.h>

#include <cmath>
#include <cstring>

#include "base/fail.h"

namespace kvkeep {
namespace {

constexpr std::string_view kMagic = "KVCAL001";
constexpr int kMostLayers = 1024, kMostHeads = 1024, kMostPlan = 1000, kMostWidth = 1 << 16;

template <class T>
void put(std::string* bytes, const T& value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  bool take(T* value) {
    if (bytes_.size() < sizeof *value) return false;
    std::memcpy(value, bytes_.data(), sizeof *value);
    bytes_.remove_prefix(sizeof *value);
    return true;
  }
  bool take(size_t n, std::string_view* part) {
    if (bytes_.size() < n) return false;
    *part = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return true;
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

bool take(Reader* from, CalibrationKey* key) {
  uint32_t length = 0;
  std::string_view plan;
  int32_t shape[3];
  if (!from->take(&key->model) || !from->take(&length) || length > kMostPlan ||
      !from->take(length, &plan) || !from->take(&shape))
    return false;
  key->plan = plan;
  key->layers = shape[0];
  key->kv_heads = shape[1];
  key->head_dim = shape[2];
  const int dim = key->head_dim;
  return key->layers >= 1 && key->layers <= kMostLayers && key->kv_heads >= 1 &&
         key->kv_heads <= kMostHeads && dim >= 8 && dim <= kMaxHeadDim && dim % 8 == 0 &&
         key->kv_heads * dim <= kMostWidth;
}

tl::unexpected<Error> damaged(const std::string& path) {
  return bad_input("'{}' is no sound calibration file", path);
}

}  // namespace

// Maps are fitted to rows of the least error, whatever scale a plan reads them with.
std::string calibration_plan(const Plan& plan) {
  std::string text;
  for (const char* name : {"predictor", "low"}) {
    const Plan::Slot& slot = plan.slot(name);
    text += (text.empty() ? "" : ";") + slot.slot + "=" + slot.method;
    bool first = true;
    for (const auto& [param, value] : slot.params) {
      if (param == "rows" || param == "fine" || param == "near") continue;
      text += (first ? ":" : ",") + param + "=" + (param == "scale" ? "least_squares" : value);
      first = false;
    }
  }
  return text;
}

Calibration::Calibration(CalibrationKey key, const PredictorForm& form)
    : key_(std::move(key)),
      form_(form),
      maps_(2 * static_cast<size_t>(key_.layers)),
      explained_(maps_.size()) {}

size_t Calibration::resident_bytes() const {
  size_t bytes = sizeof *this + maps_.capacity() * sizeof(AffineMap) +
                 explained_.capacity() * sizeof(Explained);
  for (const AffineMap& map : maps_) bytes += map.bytes();
  return bytes;
}

std::string Calibration::bytes() const {
  std::string bytes(kMagic);
  put(&bytes, key_.model);
  put(&bytes, static_cast<uint32_t>(key_.plan.size()));
  bytes += key_.plan;
  for (const int32_t number : {key_.layers, key_.kv_heads, key_.head_dim}) put(&bytes, number);
  put(&bytes, tokens);
  for (const Explained& figures : explained_) put(&bytes, figures);
  for (const AffineMap& map : maps_) bytes += map.stored();
  put(&bytes, XXH64(bytes.data(), bytes.size(), 0));
  return bytes;
}

Result<CalibrationKey> Calibration::parse_key(std::string_view bytes, const std::string& path) {
  CalibrationKey key;
  if (!bytes.starts_with(kMagic)) return damaged(path);
  Reader from(bytes.substr(kMagic.size()));
  if (!take(&from, &key)) return damaged(path);
  return key;
}

Result<Calibration> Calibration::parse(std::string_view bytes, const std::string& path) {
  uint64_t sum = 0;
  if (!bytes.starts_with(kMagic) || bytes.size() < kMagic.size() + sizeof sum) return damaged(path);
  const size_t body = bytes.size() - sizeof sum;
  std::memcpy(&sum, bytes.data() + body, sizeof sum);
  if (sum != XXH64(bytes.data(), body, 0)) return damaged(path);
  Reader from(bytes.substr(kMagic.size(), body - kMagic.size()));
  CalibrationKey key;
  if (!take(&from, &key)) return damaged(path);
  const auto plan = Plan::parse(key.plan);
  if (!plan || plan->slot("low").method != "chunk" || calibration_plan(*plan) != key.plan)
    return damaged(path);
  Calibration made(key, make_predictor(plan->slot("predictor")));
  if (!from.take(&made.tokens)) return damaged(path);
  for (Explained& figures : made.explained_)
    if (!from.take(&figures) || !std::isfinite(figures.variance) ||
        !std::isfinite(figures.residual))
      return damaged(path);
  for (int layer = 0; layer < key.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const MapShape shape = made.form_.shape(layer, side, key.kv_heads, key.head_dim);
      std::string_view stored;
      AffineMap map;
      if (!from.take(shape.stored_bytes(), &stored) || !AffineMap::read(shape, stored, &map))
        return damaged(path);
      made.set_map(layer, side, std::move(map));
    }
  if (from.left() > 0) return damaged(path);
  return made;
}

}  // namespace kvkeep
