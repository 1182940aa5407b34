// One prompt as every plan keeps it: which token stands at which precision, per layer and kv_head,
// once the prompt is compressed. The prompt hides a pass key half-way through a text, so the map
// also shows whether a plan held on to what would be asked for.
#pragma once

#include <string>
#include <vector>

#include "eval/task.h"
#include "kvkeep/report.h"

namespace kvkeep {

struct PromptMap {
  std::vector<std::string> tokens;   // the text of each, in order; bytes may be cut inside UTF-8
  int fact_begin = 0, fact_end = 0;  // the tokens of the sentence that holds the pass key
  struct Entry {
    std::string preset, plan;  // as typed, canonical
    TierMap tiers;
  };
  std::vector<Entry> plans;
  std::string missing;  // why there is no map; empty if there is one
};

// At most 512 tokens, fewer where the context is shorter. A text that is too short for the passage
// is replaced by filler sentences; a context that is too short for both, or a run that the user
// stops, gives a map that says so.
Result<PromptMap> map_prompt(const TaskInput& in);

}  // namespace kvkeep
