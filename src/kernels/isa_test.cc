#include "kernels/isa.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace kvkeep {
namespace {

TEST(Isa, ScalarComesFirstAndTablesAreComplete) {
  ASSERT_FALSE(runnable_kernels().empty());
  EXPECT_STREQ(runnable_kernels().front()->name, "scalar");
  for (const KernelTable* table : runnable_kernels()) {
    EXPECT_EQ(find_kernels(table->name).value(), table);
    for (int id = 0; id < kLayouts; ++id) {
      const auto layout = static_cast<LayoutId>(id);
      const bool keys_only = by_channel(layout);
      const bool exact = layout_kind(layout) == LayoutKind::exact || keys_only;
      EXPECT_NE(table->score_block[id], nullptr);
      EXPECT_EQ(table->accumulate_block[id] == nullptr, keys_only);
      EXPECT_EQ(table->quantize_query[id] == nullptr, exact);
      EXPECT_EQ(table->score_codes[id] == nullptr, exact);
      EXPECT_EQ(table->accumulate_codes[id] == nullptr, exact);
      EXPECT_NE(table->read_keys[id], nullptr);
      EXPECT_EQ(table->read_values[id] == nullptr, keys_only);
    }
  }
}

TEST(Isa, AnUnknownNameIsAnErrorThatListsTheAllowedOnes) {
  for (const char* name : {"", "AVX2", "sse9", "avx512 "}) {
    const auto table = find_kernels(name);
    ASSERT_FALSE(table) << name;
    EXPECT_EQ(table.error().code, ErrorCode::bad_input);
    for (const KernelTable* allowed : runnable_kernels())
      EXPECT_NE(table.error().message.find(allowed->name), std::string::npos);
  }
}

// The variable is read once, so each value needs a process of its own.
class IsaEnvironment : public testing::Test {
 protected:
  IsaEnvironment() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  static void print_selection(const char* name) {
    if (name)
      setenv("KVKEEP_ISA", name, 1);
    else
      unsetenv("KVKEEP_ISA");
    const auto table = select_kernels();
    std::fprintf(stderr, "selected %s\n", table ? (*table)->name : table.error().message.c_str());
    std::exit(table ? 0 : 2);
  }
};

TEST_F(IsaEnvironment, ForcesATable) {
  for (const KernelTable* table : runnable_kernels())
    EXPECT_EXIT(print_selection(table->name), testing::ExitedWithCode(0),
                std::string("selected ") + table->name);
}

TEST_F(IsaEnvironment, TakesTheBestWhenUnset) {
  EXPECT_EXIT(print_selection(nullptr), testing::ExitedWithCode(0),
              std::string("selected ") + runnable_kernels().back()->name);
}

TEST_F(IsaEnvironment, NeverFallsBackSilently) {
  EXPECT_EXIT(print_selection("riscv"), testing::ExitedWithCode(2),
              "KVKEEP_ISA: instruction set 'riscv' .*allowed: scalar");
}

// The linker keeps one copy of each weak symbol. If an AVX object defined one that a baseline
// object defines too, the copy kept could hold instructions the processor lacks.
TEST(Isa, ObjectsShareNoWeakSymbols) {
  FILE* pipe = popen("nm '" KVKEEP_KERNELS_LIBRARY "'", "r");
  ASSERT_NE(pipe, nullptr);
  std::string isa;  // of the object being listed, empty for baseline ones
  int weak = 0, objects = 0;
  char line[4096];
  while (std::fgets(line, sizeof line, pipe)) {
    std::istringstream words(line);
    std::string first, type, symbol;
    words >> first >> type >> symbol;
    if (first.ends_with(".o:")) {
      isa = first.starts_with("kernels_avx") ? first.substr(8, first.find('.') - 8) : "";
      objects += !isa.empty();
    }
    if (isa.empty() || symbol.empty() || (type != "W" && type != "V" && type != "u")) continue;
    if (symbol.starts_with("DW.ref.")) continue;  // data of the exception tables, no code
    ++weak;
    const std::string scope = "6kvkeep" + std::to_string(isa.size()) + isa;
    // Z: local to a function, as its lambdas are.
    EXPECT_TRUE(symbol.starts_with("_ZN" + scope) || symbol.starts_with("_ZNK" + scope) ||
                symbol.starts_with("_ZZN" + scope))
        << symbol << " of kernels_" << isa;
  }
  EXPECT_EQ(pclose(pipe), 0);
#if defined(__x86_64__)
  EXPECT_GT(objects, 0);
  EXPECT_GT(weak, 0);
#endif
}

}  // namespace
}  // namespace kvkeep
