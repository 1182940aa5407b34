// Scores of samples, and how sure their mean is.
//
// Questions on the same context succeed or fail together, so samples are drawn, not questions: a
// bootstrap of 2,000 draws, 95 % between its quantiles. When all samples agree it has no width.
// Tokens of a text share the history that was compressed: stretches of them are drawn.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kvkeep {

// Where a sample stands on a task's grid, such as {{"length", 512}, {"depth", 0.25}}.
using Place = std::vector<std::pair<std::string, double>>;

struct Tally {
  std::vector<double> right;  // one a metric: the scores of its questions, added up
  int asked = 0;
  Place place = {};
  std::string group = {};  // accuracies are also given by group, if it has a name
  double high = 0;  // share of answer tokens in the high tier, added up over `located` questions
  int located = 0;  // questions whose answer stands in the context
  // Questions about different places of one context, by the first metric.
  struct Placed {
    Place place;
    double right;
  };
  std::vector<Placed> placed = {};
};

// Mean score of a question.
double accuracy(std::span<const Tally> tallies, size_t metric = 0);

using Interval = std::pair<double, double>;
Interval mean_interval(std::span<const double> values, uint64_t seed);
Interval accuracy_interval(std::span<const Tally> tallies, uint64_t seed, size_t metric = 0);

// Of what one plan scores above another on the same samples, in the same order.
Interval difference_interval(std::span<const Tally> tallies, std::span<const Tally> reference,
                             uint64_t seed, size_t metric = 0);

}  // namespace kvkeep
