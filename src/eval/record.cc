#include "eval/record.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <vector>

#include "base/fail.h"

namespace kvkeep {
namespace {

constexpr int kQuestions = 5;

// The words that the embedded model was trained on (models/train/tasks.py).
constexpr const char* kAdjectives[] = {
    "ancient", "bitter",  "black",  "blue",   "brave", "bright", "broad",  "broken", "brown",
    "busy",    "calm",    "clean",  "clear",  "cold",  "common", "cruel",  "dark",   "deep",
    "distant", "dry",     "early",  "empty",  "faint", "fair",   "fine",   "free",   "full",
    "gentle",  "golden",  "good",   "grave",  "great", "green",  "grey",   "happy",  "hard",
    "heavy",   "high",    "humble", "idle",   "keen",  "kind",   "late",   "light",  "little",
    "long",    "loose",   "low",    "merry",  "mild",  "narrow", "new",    "noble",  "old",
    "open",    "pale",    "plain",  "poor",   "proud", "quick",  "quiet",  "rare",   "red",
    "rich",    "ripe",    "rough",  "round",  "royal", "sad",    "secret", "sharp",  "short",
    "silent",  "silver",  "simple", "slow",   "small", "smooth", "soft",   "steep",  "stiff",
    "stout",   "strange", "strong", "sudden", "sweet", "tall",   "tame",   "thick",  "thin",
    "vast",    "warm",    "weak",   "wet",    "white", "wild",   "wise",   "wooden", "young"};
constexpr const char* kNouns[] = {
    "apple",    "beach",  "bear",    "bee",    "bell",   "bird",     "boat",   "book",
    "bread",    "bridge", "brother", "butter", "candle", "captain",  "castle", "cat",
    "cave",     "chair",  "cheese",  "child",  "church", "city",     "clock",  "cloud",
    "coat",     "cousin", "cow",     "crown",  "dance",  "daughter", "deer",   "desert",
    "doctor",   "dog",    "door",    "dream",  "drum",   "duck",     "eagle",  "farmer",
    "father",   "field",  "fire",    "fish",   "flag",   "flower",   "forest", "fox",
    "friend",   "garden", "goat",    "gun",    "hall",   "hat",      "hen",    "hill",
    "honey",    "horse",  "house",   "hunter", "island", "judge",    "king",   "kitchen",
    "knife",    "lake",   "lamp",    "letter", "lion",   "man",      "market", "master",
    "merchant", "milk",   "mirror",  "moon",   "mother", "mountain", "mouse",  "pig",
    "priest",   "queen",  "rabbit",  "rain",   "ring",   "river",    "road",   "room",
    "rose",     "sailor", "salt",    "school", "sea",    "servant",  "sheep",  "shield",
    "ship",     "shoe",   "shop",    "shore",  "sister", "snake",    "snow",   "soldier",
    "song",     "spear",  "spider",  "star",   "stone",  "storm",    "story",  "street",
    "student",  "sugar",  "sun",     "sword",  "table",  "teacher",  "thief",  "tiger",
    "tower",    "town",   "tree",    "uncle",  "valley", "village",  "wind",   "window",
    "wine",     "wolf",   "woman"};

struct Entry {
  std::string key, value;
};

int tokens_of(const TaskInput& in, const std::string& text) {
  return static_cast<int>(in.model.encode(text, false).size());
}

// About as many entries as have room beside the questions, rather one too many.
std::vector<Entry> draw_entries(const TaskInput& in, const RecordStyle& style, Rng& rng) {
  std::vector<Entry> entries;
  std::set<std::string> seen;
  int room = in.options.context - tokens_of(in, style.head);
  while (room > 0 && entries.size() < style.most) {
    std::string key = style.key(rng);
    if (!seen.insert(key).second) continue;
    if (entries.empty()) room -= kQuestions * tokens_of(in, style.ask(key));
    entries.push_back({std::move(key), random_digits(rng, style.digits)});
    room -= tokens_of(in, style.entry(entries.back().key, entries.back().value));
  }
  return entries;
}

// One question about each fifth of the record, so that every depth is asked for; in any order.
RecallSample ask_entries(const TaskInput& in, const RecordStyle& style,
                         const std::vector<Entry>& entries, Rng rng) {
  RecallSample sample;
  sample.context = style.head;
  for (const auto& entry : entries) sample.context += style.entry(entry.key, entry.value);
  for (size_t fifth = 0; fifth < kQuestions; ++fifth) {
    const size_t begin = entries.size() * fifth / kQuestions;
    const size_t end = entries.size() * (fifth + 1) / kQuestions;
    const auto& [key, value] = entries[begin + rng.below(end - begin)];
    const double depth = (static_cast<double>(fifth) + 0.5) / kQuestions;
    sample.questions.push_back(
        {style.ask(key), {value}, {{"length", in.options.context}, {"depth", depth}}});
  }
  for (size_t i = kQuestions; i > 1; --i)
    std::swap(sample.questions[i - 1], sample.questions[rng.below(i)]);
  return sample;
}

}  // namespace

std::string compound_key(Rng& rng) {
  return std::string(kAdjectives[rng.below(std::size(kAdjectives))]) + "-" +
         kNouns[rng.below(std::size(kNouns))];
}

std::string noun_key(Rng& rng) { return kNouns[rng.below(std::size(kNouns))]; }

std::string random_digits(Rng& rng, int n) {
  std::string digits;
  for (int i = 0; i < n; ++i) digits += static_cast<char>('0' + rng.below(10));
  return digits;
}

Rng sample_rng(const TaskInput& in, int index) {
  return Rng(hash64(in.options.seed) ^ hash64(static_cast<uint64_t>(index) << 32));
}

Result<RecallSample> make_record(const TaskInput& in, const RecordStyle& style, int index) {
  Rng rng = sample_rng(in, index);
  auto entries = draw_entries(in, style, rng);
  for (; entries.size() >= kQuestions; entries.pop_back()) {
    RecallSample sample = ask_entries(in, style, entries, rng);
    if (recall_tokens(in.model, sample) <= in.options.context) return sample;
  }
  return bad_input("{} tokens (--ctx) do not hold a record of {} entries and as many questions",
                   in.options.context, kQuestions);
}

}  // namespace kvkeep
