#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/bench/attention.h"
#include "eval/bench/spread_report.h"
#include "eval/table.h"

namespace kvkeep::bench {
Json attention_json(const std::vector<AttentionRow>& rows) {
  Json array = Json::array();
  for (const AttentionRow& row : rows) {
    Json json = {{"layout_k", layout_name(row.layouts.k)},
                 {"layout_v", layout_name(row.layouts.v)},
                 {"head_dim", row.head_dim},
                 {"gqa_ratio", row.gqa_ratio},
                 {"kv_heads", row.kv_heads},
                 {"layers", row.layers},
                 {"context", row.context},
                 {"threads", row.threads},
                 {"isa", row.isa},
                 {"kv_bytes", row.kv_bytes}};
    add_spread(&json, "ns_per_kv_token", row.ns);
    add_spread(&json, "gb_per_s", row.gb_per_s);
    add_spread(&json, "read_gb_per_s", row.read_gb_per_s);
    add_spread(&json, "fraction_of_read", row.fraction_of_read);
    add_spread(&json, "speed_up_over_f16", row.speed_up_over_f16);
    array.push_back(std::move(json));
  }
  return array;
}

std::string attention_text(const std::vector<AttentionRow>& rows) {
  Table table({"<layout", "<kernels", "head_dim", "gqa", "context", "threads",
               "ns a token (min-max)", "GB/s", "read GB/s", "of read (min-max)",
               "x f16 (min-max)"});
  for (const AttentionRow& row : rows)
    table.add({row.layouts.name(), row.isa, std::to_string(row.head_dim),
               std::to_string(row.gqa_ratio), grouped(row.context), std::to_string(row.threads),
               range(row.ns, 1), fmt::format("{:.1f}", row.gb_per_s.median),
               fmt::format("{:.1f}", row.read_gb_per_s.median), range(row.fraction_of_read, 2),
               range(row.speed_up_over_f16, 2)});
  return "decode attention from memory: ns for one token of one kv_head, medians over rounds\n" +
         table.text();
}

}  // namespace kvkeep::bench
