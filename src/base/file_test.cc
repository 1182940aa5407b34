#include "base/file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace kvkeep {
namespace {

namespace fs = std::filesystem;

// A folder of the test's own, removed at its end.
class WriteFile : public ::testing::Test {
 protected:
  WriteFile() {
    std::string name = ::testing::TempDir() + "kvkeep.XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~WriteFile() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  auto entries() const { return std::distance(fs::directory_iterator(folder_), {}); }

  fs::path folder_;
};

TEST_F(WriteFile, PutsTheWholeTextUnderTheNameAndNothingElse) {
  ASSERT_TRUE(check_writable(path("page")));
  EXPECT_EQ(entries(), 0);
  for (const std::string text : {"all of it", "", "less"}) {
    ASSERT_TRUE(write_file(path("page"), text));
    EXPECT_EQ(*read_file(path("page")), text);
    EXPECT_EQ(entries(), 1);
  }
  ASSERT_TRUE(check_writable(path("page")));
  EXPECT_EQ(*read_file(path("page")), "less");
}

TEST_F(WriteFile, PermissionsAreThoseOfTheOldFileOrTheUsersMask) {
  const auto narrow = fs::perms::owner_read | fs::perms::owner_write;
  std::ofstream(path("old")) << "old";
  fs::permissions(path("old"), narrow);
  ASSERT_TRUE(write_file(path("old"), "new"));
  EXPECT_EQ(fs::status(path("old")).permissions(), narrow);
  std::ofstream(path("plain")) << "";
  ASSERT_TRUE(write_file(path("new"), "new"));
  EXPECT_EQ(fs::status(path("new")).permissions(), fs::status(path("plain")).permissions());
}

TEST_F(WriteFile, WhatCannotBeWrittenIsRefusedWithItsName) {
  for (const std::string& name : {path("none/page"), path(""), std::string()})
    for (const auto& done : {check_writable(name), write_file(name, "text")}) {
      ASSERT_FALSE(done) << name;
      EXPECT_EQ(done.error().code, ErrorCode::bad_input);
      EXPECT_NE(done.error().message.find(name), std::string::npos);
    }
  EXPECT_EQ(entries(), 0);
}

}  // namespace
}  // namespace kvkeep
