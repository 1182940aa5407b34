// kvkeep bench: how fast the parts of the engine are, against what this machine can do at most.
#include "bench.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fail.h"
#include "eval/bench/bars.h"
#include "kvkeep/version.h"

namespace kvkeep {

Result<std::vector<int>> parse_counts(const std::string& text, const char* option, int least,
                                      int most) {
  std::vector<int> counts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    char* end = nullptr;
    const long value = std::strtol(part.c_str(), &end, 10);
    const bool kilo = end != part.c_str() && (*end == 'K' || *end == 'k');
    const bool plain = end != part.c_str() && end[kilo ? 1 : 0] == '\0';
    const long count = kilo && value < (1 << 20) ? value * 1024 : value;
    if (!plain || count < least || count > most)
      return bad_input("{} '{}': '{}' is not a number from {} to {} (4096 or 4K)", option, text,
                       part, least, most);
    counts.push_back(static_cast<int>(count));
  }
  if (counts.empty()) return bad_input("{} names no number", option);
  return counts;
}

std::string default_threads() {
  const auto machine = machine_info();
  return machine && machine->cores > 1 ? "1,2" : "1";
}

Result<Json> bench_head(const char* name, int threads) {
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  Json json = machine_json(*machine, threads);
  json["last_level_cache_bytes"] = bench::last_level_cache_bytes();
  json["huge_pages"] = machine->huge_pages;
  double load[1] = {0};
  if (::getloadavg(load, 1) == 1) json["load_average"] = load[0];
  return Json{{"schema", "kvkeep.bench/1"},
              {"bench", name},
              {"command", command_line()},
              {"version", kVersion},
              {"machine", json}};
}

Result<int> finish_bench(bool json, const Json& object, const std::string& text, bool interrupted) {
  Json whole = object;
  whole["interrupted"] = interrupted;
  KVKEEP_TRY(write_out(json ? json_text(whole) : text));
  if (!interrupted) return kExitOk;
  return failed("stopped; the figures above are those that were complete");
}

void add_bench(CLI::App& app, Action* action) {
  CLI::App* bench = app.add_subcommand("bench", "how fast it is, against what the machine can do");
  bench->require_subcommand(1);
  for (const auto add :
       {add_bench_attention, add_bench_memory, add_bench_compress, add_bench_decode})
    add(*bench, action);
}

}  // namespace kvkeep
