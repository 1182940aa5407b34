// Which instruction set runs: the best this processor has, or the one KVKEEP_ISA names.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "kvkeep/error.h"

namespace kvkeep {

// Tables this build holds and this processor can run, slowest (scalar) first.
const std::vector<const KernelTable*>& runnable_kernels();

// The table of that name; an unknown or unsupported name is an error that lists the allowed ones.
Result<const KernelTable*> find_kernels(const std::string& name);

// What KVKEEP_ISA asks for, else the best. Read once; the CLI calls it first and reports the error.
Result<const KernelTable*> select_kernels();

// The selected table, or the one that is in use instead. A check fails if select_kernels() is an
// error.
const KernelTable& kernels();

// Makes kernels() another table while it lives, for measurements and tests that compare instruction
// sets in one process. Nobody else may compute meanwhile.
class KernelsInUse {
 public:
  explicit KernelsInUse(const KernelTable& table);
  ~KernelsInUse();
  KernelsInUse(const KernelsInUse&) = delete;
  KernelsInUse& operator=(const KernelsInUse&) = delete;

 private:
  const KernelTable* before_;
};

}  // namespace kvkeep
