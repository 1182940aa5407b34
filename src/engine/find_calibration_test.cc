// A session takes the calibration that fits its model and plan, and says in one line why another
// does not. The files are made up, for a small model.
#include "engine/find_calibration.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

namespace fs = std::filesystem;

const char* kModel = KVKEEP_SOURCE_DIR "/tests/golden/qwen3.gguf";
const Plan& aqua2() {
  static const Plan plan = *Plan::parse("aqua2");
  return plan;
}

const Model& small() {
  static const Model model = *Model::load(kModel);
  return model;
}

// A sound file for any key: it predicts nothing but zeros.
std::string made_up(const CalibrationKey& key) {
  const PredictorForm form = make_predictor(Plan::parse(key.plan)->slot("predictor"));
  Calibration made(key, form);
  for (int layer = 0; layer < key.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const MapShape shape = form.shape(layer, side, key.kv_heads, key.head_dim);
      const auto width = static_cast<size_t>(shape.width);
      made.set_map(layer, side,
                   AffineMap(shape, std::vector<float>(2 * width * width, 0.0f),
                             std::vector<float>(width, 0.0f)));
    }
  return made.bytes();
}

// A folder of its own for each test, with the model in it.
class FindCalibration : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("find_calibration_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    fs::copy_file(kModel, folder_ / "model.gguf");
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string put(const std::string& name, const std::string& bytes) {
    const std::string path = (folder_ / name).string();
    EXPECT_TRUE(write_file(path, bytes));
    return path;
  }

  // "" where a session opens.
  std::string refusal(const std::string& calibration, const Plan& plan = aqua2()) {
    const Model model = *Model::load((folder_ / "model.gguf").string());
    const auto made = Session::create(model, plan, {1, 0, calibration});
    if (made) return "";
    EXPECT_EQ(made.error().code, ErrorCode::bad_input);
    EXPECT_EQ(made.error().message.find('\n'), std::string::npos);
    return made.error().message;
  }

  fs::path folder_;
};

TEST_F(FindCalibration, AFileForAnotherModelPlanOrShapeIsNamedAndRefused) {
  CalibrationKey key = calibration_key(small(), aqua2());
  EXPECT_EQ(refusal(put("sound", made_up(key))), "");
  const uint64_t model = key.model;
  key.model = 0x1234;
  std::string path = put("other", made_up(key));
  EXPECT_EQ(refusal(path), fmt::format("'{}' is a calibration of another model "
                                       "(0000000000001234, not {:016x})",
                                       path, model));
  key = calibration_key(small(), *Plan::parse("aqua3"));
  path = put("other", made_up(key));
  EXPECT_EQ(refusal(path), fmt::format("'{}' is a calibration for another plan: {}, not {}", path,
                                       key.plan, calibration_plan(aqua2())));
  EXPECT_EQ(refusal(path, *Plan::parse("aqua3:low.rows=64,low.fine=0.5")), "");
  key = calibration_key(small(), aqua2());
  ++key.layers;
  path = put("other", made_up(key));
  EXPECT_EQ(refusal(path), "'" + path + "' is a calibration of another shape");
}

TEST_F(FindCalibration, ADamagedTruncatedOrMissingFileIsNamedAndRefused) {
  const std::string sound = made_up(calibration_key(small(), aqua2()));
  for (const size_t at : {size_t{0}, size_t{30}, sound.size() / 2, sound.size() - 1}) {
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    const std::string path = put("damaged", damaged);
    EXPECT_EQ(refusal(path), "'" + path + "' is no sound calibration file") << "byte " << at;
  }
  for (const size_t bytes : {size_t{4}, size_t{40}, sound.size() / 2, sound.size() - 1}) {
    const std::string path = put("truncated", sound.substr(0, bytes));
    EXPECT_EQ(refusal(path), "'" + path + "' is no sound calibration file") << bytes << " bytes";
  }
  const std::string longer = put("longer", sound + "x");
  EXPECT_EQ(refusal(longer), "'" + longer + "' is no sound calibration file");
  for (const std::string& path : {put("empty", ""), (folder_ / "none").string(), folder_.string()})
    EXPECT_NE(refusal(path).find("'" + path + "'"), std::string::npos) << refusal(path);
}

TEST_F(FindCalibration, BesideTheModelTheOneThatFitsIsTaken) {
  EXPECT_EQ(refusal(""),
            "plan: predictor=cross_layer needs a calibration of this model; kvkeep calibrate makes "
            "one, and --calibration FILE names it");
  CalibrationKey key = calibration_key(small(), *Plan::parse("aqua3"));
  put("a.kvcal", made_up(key));
  put("b.kvcal", "no calibration");
  put("d.txt", made_up(calibration_key(small(), aqua2())));
  EXPECT_NE(refusal(""), "") << "another plan's, another file's and another name";
  key = calibration_key(small(), aqua2());
  const std::string path = put("c.kvcal", made_up(key));
  EXPECT_EQ(refusal(""), "");
  // One that names this model and plan but is damaged is no reason to do without.
  std::string damaged = made_up(key);
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  put("c.kvcal", damaged);
  EXPECT_EQ(refusal(""), "'" + path + "' is no sound calibration file");
}

}  // namespace
}  // namespace kvkeep
