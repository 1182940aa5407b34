#include "kernels/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>

#include "base/check.h"
#include "base/fail.h"

namespace kvkeep {

namespace scalar {
extern const KernelTable kTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx512vnni {
extern const KernelTable kTable;
}
#endif

namespace {

const KernelTable* in_use = nullptr;  // instead of the selected table

#if defined(__x86_64__)
// __builtin_cpu_supports has no name for it before clang 15.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

// Also asks whether the operating system saves the wide registers.
std::vector<const KernelTable*> detect() {
  std::vector<const KernelTable*> tables = {&scalar::kTable};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("popcnt") && has_f16c())
    tables.push_back(&avx2::kTable);
  else
    return tables;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    tables.push_back(&avx512::kTable);
  else
    return tables;
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
      __builtin_cpu_supports("gfni"))
    tables.push_back(&avx512vnni::kTable);
#endif
  return tables;
}

}  // namespace

const std::vector<const KernelTable*>& runnable_kernels() {
  static const std::vector<const KernelTable*> tables = detect();
  return tables;
}

Result<const KernelTable*> find_kernels(const std::string& name) {
  std::string names;
  for (const KernelTable* table : runnable_kernels()) {
    if (name == table->name) return table;
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  return bad_input("instruction set '{}' is unknown or cannot run here; allowed: {}", name, names);
}

Result<const KernelTable*> select_kernels() {
  static const Result<const KernelTable*> selected = []() -> Result<const KernelTable*> {
    const char* name = std::getenv("KVKEEP_ISA");
    if (!name) return runnable_kernels().back();
    const auto table = find_kernels(name);
    if (!table) return bad_input("KVKEEP_ISA: {}", table.error().message);
    return *table;
  }();
  return selected;
}

KernelsInUse::KernelsInUse(const KernelTable& table) : before_(in_use) { in_use = &table; }

KernelsInUse::~KernelsInUse() { in_use = before_; }

const KernelTable& kernels() {
  if (in_use) return *in_use;
  static const KernelTable& table = [&]() -> const KernelTable& {
    const auto selected = select_kernels();
    KVKEEP_CHECK(selected, "{}", selected.error().message);
    return **selected;
  }();
  return table;
}

}  // namespace kvkeep
