// What the subcommands of `kvkeep bench` share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "eval/report.h"

namespace kvkeep {

// One benchmark each: one file, one function that adds it below `bench`.
void add_bench_attention(CLI::App& bench, Action* action);
void add_bench_memory(CLI::App& bench, Action* action);
void add_bench_compress(CLI::App& bench, Action* action);
void add_bench_decode(CLI::App& bench, Action* action);

// "1K,4096" -> {1024, 4096}; each in [least, most].
Result<std::vector<int>> parse_counts(const std::string& text, const char* option, int least,
                                      int most);

// "1,2", or "1" where there is one core.
std::string default_threads();

// {"schema","bench","command","version","machine"}; rows and more are the caller's to add. The
// machine has its load average: on a busy one, absolute figures mean little.
Result<Json> bench_head(const char* name, int threads);

// Writes the table or the object; after Ctrl-C both say what is missing.
Result<int> finish_bench(bool json, const Json& object, const std::string& text, bool interrupted);

}  // namespace kvkeep
