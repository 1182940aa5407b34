#include "eval/recall_row.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvkeep {
namespace {

using Tallies = std::vector<Tally>;

template <class Belongs>
Tallies only(const Tallies& tallies, const Belongs& belongs) {
  Tallies found;
  std::copy_if(tallies.begin(), tallies.end(), std::back_inserter(found), belongs);
  return found;
}

// "depth_0.25", "length_512", "hotpotqa"
std::vector<std::string> groups_of(const Tally& tally) {
  std::vector<std::string> groups;
  if (!tally.group.empty()) groups.push_back(tally.group);
  for (const auto& [name, value] : tally.place) groups.push_back(fmt::format("{}_{}", name, value));
  return groups;
}

// Where answers stand at different places of one context, each question by itself.
Tallies by_place(const Tallies& tallies) {
  Tallies found;
  for (const auto& tally : tallies) {
    if (tally.placed.empty()) found.push_back(tally);
    for (const auto& [place, right] : tally.placed) found.push_back(Tally{{right}, 1, place, ""});
  }
  return found;
}

// The groups' accuracies, in the order of their first samples; those of places are in the cells
// too.
std::vector<Metric> group_metrics(const Tallies& tallies) {
  std::vector<Metric> metrics;
  for (const auto& first : tallies)
    for (const auto& group : groups_of(first)) {
      const auto known = [&](const Metric& metric) { return metric.name == group; };
      if (std::any_of(metrics.begin(), metrics.end(), known)) continue;
      const auto here = only(tallies, [&](const Tally& tally) {
        const auto of = groups_of(tally);
        return std::find(of.begin(), of.end(), group) != of.end();
      });
      metrics.push_back({group, accuracy(here)});
      metrics.back().detail = group != first.group;
    }
  return metrics;
}

std::vector<Cell> cells_of(const Tallies& tallies) {
  std::vector<Cell> cells;
  for (const auto& first : tallies) {
    const auto known = [&](const Cell& cell) { return cell.place == first.place; };
    if (first.place.empty() || std::any_of(cells.begin(), cells.end(), known)) continue;
    const auto here = only(tallies, [&](const Tally& tally) { return tally.place == first.place; });
    int asked = 0;
    for (const auto& tally : here) asked += tally.asked;
    cells.push_back({first.place, accuracy(here), asked});
  }
  return cells;
}

std::vector<Metric> metrics_of(const TaskInput& in, const RecallTask& task, const Tallies& tallies,
                               const Tallies* f16) {
  std::vector<Metric> metrics;
  int asked = 0, located = 0;
  double high = 0;
  for (const auto& tally : tallies) {
    asked += tally.asked;
    located += tally.located;
    high += tally.high;
  }
  const auto add = [&](const std::string& name, size_t i) {
    Metric metric{name, accuracy(tallies, i)};
    metric.interval = accuracy_interval(tallies, in.options.seed, i);
    if (f16) metric.vs_f16 = difference_interval(tallies, *f16, in.options.seed, i);
    metrics.push_back(std::move(metric));
  };
  for (size_t i = 0; i < task.metrics.size(); ++i) {
    add(task.metrics[i].name, i);
    if (i == 0) metrics.push_back({"n", static_cast<double>(asked), true});
  }
  if (task.lead) add("answer_nll", task.metrics.size());
  if (located > 0) metrics.push_back({"answer_in_high", high / located});
  for (auto& metric : group_metrics(by_place(tallies))) metrics.push_back(std::move(metric));
  return metrics;
}

}  // namespace

void RecallScore::add(const RecallScore& other) {
  tallies.insert(tallies.end(), other.tallies.begin(), other.tallies.end());
  seconds += other.seconds;
  steps += other.steps;
  cache = other.cache;
}

std::vector<EvalRow> recall_rows(const TaskInput& in, const RecallTask& task,
                                 const std::vector<RecallScore>& scores) {
  const Tallies* f16 = nullptr;
  const auto exact = Plan::parse("f16");
  for (size_t i = 0; i < scores.size(); ++i)
    if (!f16 && exact && in.plans[i] == *exact) f16 = &scores[i].tallies;
  std::vector<EvalRow> rows;
  for (const auto& score : scores) {
    EvalRow row;
    row.task = task.name;
    row.metrics = metrics_of(in, task, score.tallies, f16);
    row.cells = cells_of(by_place(score.tallies));
    for (const auto& tally : score.tallies) {
      row.units.push_back(accuracy({&tally, 1}));
      if (task.lead) row.nll_units.push_back(accuracy({&tally, 1}, task.metrics.size()));
    }
    row.cache = score.cache;
    row.protocol = in.options;
    row.protocol.bos = !in.model.encode("", true).empty();
    row.samples = static_cast<int>(score.tallies.size());
    row.tokens_per_second = score.seconds > 0 ? score.steps / score.seconds : 0;
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace kvkeep
