// Random representatives: the control that a method with an idea has to beat. A token's number is
// fixed, so that it stays picked as long as it may.
#include "base/rng.h"
#include "codec/demote.h"
#include "codec/representatives/representatives.h"

namespace kvkeep {
namespace {

class Random : public Representatives {
 public:
  explicit Random(const Plan::Slot& slot)
      : Representatives(slot), seed_(static_cast<uint64_t>(slot.number("seed"))) {}

  Stays choose(int layer, int, std::span<const HeadRows> heads) const override {
    Stays stays;
    for (size_t h = 0; h < heads.size(); ++h) {
      const HeadRows& rows = heads[h];
      const std::vector<size_t> among = candidates(rows);
      std::vector<size_t> picks;
      if (rows.representatives > 0) {
        const uint64_t head = hash64(hash64(seed_ + static_cast<uint64_t>(layer)) + h);
        std::vector<uint64_t> numbers;
        for (size_t row : among)
          numbers.push_back(hash64(head ^ static_cast<uint64_t>(rows.positions[row])));
        picks = lowest(numbers, rows.representatives);
      }
      stays.push_back(stay_but(rows, among, picks));
    }
    return stays;
  }

 private:
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Representatives> make_representatives_random(const Plan::Slot& slot) {
  return std::make_unique<Random>(slot);
}

}  // namespace kvkeep
