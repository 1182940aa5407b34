// What this machine is and what kvkeep really uses of it: a figure without them says little.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

struct MachineInfo {
  std::string cpu, compiler;
  std::string isa;                           // the kernels that run
  std::vector<std::string> isas;             // what could run here, slowest first
  std::string isa_asked;                     // KVKEEP_ISA, empty when it is not set
  int cores = 0;                             // this process may use
  int64_t memory = 0, memory_available = 0;  // bytes; 0 when unknown
  std::string huge_pages;  // transparent huge pages: "always", "madvise", "never", "unknown"
};

// bad_input when KVKEEP_ISA names kernels that do not exist or cannot run here.
Result<MachineInfo> machine_info();

}  // namespace kvkeep
