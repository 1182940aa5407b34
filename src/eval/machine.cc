#include "eval/machine.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/thread_pool.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// The text after "key   :" on the first line that begins with key; files under /proc have no size,
// so they are read as streams.
std::string field(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && begin != std::string::npos) return line.substr(begin);
  }
  return "";
}

int64_t memory_field(const std::string& key) {
  return std::strtoll(field("/proc/meminfo", key).c_str(), nullptr, 10) * 1024;
}

// "always [madvise] never" -> "madvise"
std::string huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  std::getline(file, line);
  const size_t open = line.find('['), close = line.find(']');
  if (open == std::string::npos || close == std::string::npos) return "unknown";
  return line.substr(open + 1, close - open - 1);
}

// gcc gives its bare number, clang its name and number.
std::string compiler() {
  const std::string version = __VERSION__;
  return version.find("lang") == std::string::npos ? "gcc " + version : version;
}

}  // namespace

Result<MachineInfo> machine_info() {
  const auto selected = select_kernels();
  if (!selected) return tl::unexpected(selected.error());
  MachineInfo info;
  info.isa = (*selected)->name;
  for (const KernelTable* table : runnable_kernels()) info.isas.push_back(table->name);
  if (const char* asked = std::getenv("KVKEEP_ISA")) info.isa_asked = asked;
  info.cpu = field("/proc/cpuinfo", "model name");
  if (info.cpu.empty()) info.cpu = "unknown";
  info.compiler = compiler();
  info.cores = hardware_threads();
  info.memory = memory_field("MemTotal");
  info.memory_available = memory_field("MemAvailable");
  info.huge_pages = huge_pages();
  return info;
}

}  // namespace kvkeep
