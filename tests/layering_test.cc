// Who may include whom (docs/design.md, section 2), read from the include lines themselves.
// GCC 12 takes std::regex for uninitialised when the sanitizers are on.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// The folders whose headers a folder may include, besides its own. "public" is include/kvkeep;
// "errors" are its two headers that every layer may use: error.h and progress.h.
const std::map<std::string, Names> kLaw = {
    {"public", {}},
    {"base", {"errors"}},
    {"kernels", {"errors", "base"}},
    {"model", {"errors", "base", "kernels"}},
    {"cache", {"errors", "base"}},
    {"codec", {"errors", "public", "base", "kernels", "cache"}},
    {"attention", {"errors", "public", "base", "kernels", "cache", "codec"}},
    {"engine", {"errors", "public", "base", "kernels", "cache", "codec", "attention", "model"}},
    {"eval",
     {"errors", "public", "base", "kernels", "cache", "codec", "attention", "model", "engine"}},
    {"tools", {"errors", "public", "base", "eval"}},
    {"bench", {"errors", "public", "base", "kernels", "codec", "eval"}},
};

Names parts_of(const std::string& path) {
  Names parts;
  for (const auto& part : fs::path(path)) parts.insert(part.string());
  return parts;
}

// The folder of kLaw a source file belongs to; empty for files the law does not cover (tests/).
std::string folder_of(const std::string& path) {
  if (path.starts_with("include/kvkeep/")) return "public";
  const std::string below = path.starts_with("src/") ? path.substr(4) : path;
  const std::string first = below.substr(0, below.find('/'));
  return kLaw.contains(first) ? first : "";
}

// The same for the text between the quotes of an include line; empty for a file beside its includer
// and for other projects' headers.
std::string folder_of_include(const std::string& name) {
  if (name == "kvkeep/error.h" || name == "kvkeep/progress.h") return "errors";
  if (name.starts_with("kvkeep/")) return "public";
  const size_t slash = name.find('/');
  const std::string first = name.substr(0, slash == std::string::npos ? 0 : slash);
  return kLaw.contains(first) ? first : "";
}

// "scorer" for src/codec/scorer/h2o.cc or codec/scorer/scorer.h; empty outside the stages.
std::string stage_of(const std::string& path) {
  static const std::regex stage("^(?:src/)?codec/([^/]+)/.*");
  std::smatch match;
  return std::regex_match(path, match, stage) ? match[1].str() : "";
}

// What is wrong with `path` including `name`; empty if nothing is.
std::string objection(const std::string& path, const std::string& name) {
  const std::string from = folder_of(path), to = folder_of_include(name);
  if (from.empty()) return "";
  if (parts_of(name).contains("..")) return "paths start at src/ or include/, without '..'";
  if (from == "public" && !name.starts_with("kvkeep/"))
    return "public headers include nothing of src/";
  const std::string stage = stage_of(path), other = stage_of(name);
  if (!stage.empty() && !other.empty() && stage != other)
    return "stages of the codec do not include one another";
  const bool own = to.empty() || to == from || (from == "public" && to == "errors");
  if (!own && !kLaw.at(from).contains(to)) return from + " may not include " + to;
  return "";
}

std::vector<std::string> violations(const std::string& path, const std::string& text) {
  static const std::regex include("^[ \t]*#[ \t]*include[ \t]*(\"([^\"\n]+)\"|<(kvkeep/[^>\n]+)>)",
                                  std::regex::ECMAScript | std::regex::multiline);
  std::vector<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), include), end; match != end; ++match) {
    const std::string name = (*match)[2].matched ? (*match)[2].str() : (*match)[3].str();
    const std::string why = objection(path, name);
    if (!why.empty()) found.push_back(path + " includes " + name + ": " + why);
  }
  return found;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Layering, HoldsInTheTree) {
  const fs::path root = KVKEEP_SOURCE_DIR;
  int files = 0;
  for (const char* folder : {"include", "src", "tools", "bench"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".inc") continue;
      ++files;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      EXPECT_NE(folder_of(path), "") << path << " is in no folder the law names";
      for (const std::string& line : violations(path, read(entry.path()))) ADD_FAILURE() << line;
    }
  }
  EXPECT_GT(files, 20);
}

TEST(Layering, OrderOfTheLawHasNoCycle) {
  // Taking away folders whose includes are all gone must take away all of them.
  Names left;
  for (const auto& [name, below] : kLaw) left.insert(name);
  for (size_t before = left.size() + 1; left.size() < before;) {
    before = left.size();
    std::erase_if(left, [&](const std::string& name) {
      return std::none_of(kLaw.at(name).begin(), kLaw.at(name).end(),
                          [&](const std::string& lower) { return left.contains(lower); });
    });
  }
  EXPECT_TRUE(left.empty()) << *left.begin();
}

struct Case {
  const char *path, *include, *why;  // why: nullptr where the include is allowed
};

TEST(Layering, CatchesEveryKindOfBreach) {
  const Case cases[] = {
      {"src/base/file.cc", "\"kernels/isa.h\"", "base may not include kernels"},
      {"src/base/file.cc", "\"kvkeep/plan.h\"", "base may not include public"},
      {"src/base/file.cc", "\"kvkeep/error.h\"", nullptr},
      {"src/kernels/isa.cc", "\"model/gguf.h\"", "kernels may not include model"},
      {"src/cache/tier.cc", "\"codec/pipeline.h\"", "cache may not include codec"},
      {"src/cache/tier.cc", "\"kernels/layout.h\"", "cache may not include kernels"},
      {"src/codec/plan.cc", "\"model/config.h\"", "codec may not include model"},
      {"src/attention/decode_attention.cc", "\"model/config.h\"",
       "attention may not include model"},
      {"src/model/transformer.cc", "\"cache/tier.h\"", "model may not include cache"},
      {"src/engine/session.cc", "\"model/transformer.h\"", nullptr},
      {"src/engine/session.cc", "\"eval/report.h\"", "engine may not include eval"},
      {"src/codec/scorer/h2o.cc", "\"codec/transform/transform.h\"", "do not include one another"},
      {"src/codec/scorer/h2o.cc", "\"codec/scorer/scorer.h\"", nullptr},
      {"src/codec/pipeline.cc", "\"codec/transform/transform.h\"", nullptr},
      {"include/kvkeep/session.h", "\"engine/session.h\"", "nothing of src/"},
      {"include/kvkeep/session.h", "\"kvkeep/plan.h\"", nullptr},
      {"tools/kvkeep/run.cc", "\"kernels/isa.h\"", "tools may not include kernels"},
      {"tools/kvkeep/run.cc", "<kvkeep/session.h>", nullptr},
      {"src/base/file.cc", "<kvkeep/session.h>", "base may not include public"},
      {"src/base/file.cc", "\"../kernels/isa.h\"", "without '..'"},
      {"bench/gemv_bench.cc", "\"model/gguf.h\"", "bench may not include model"},
  };
  for (const Case& c : cases) {
    const std::string text = std::string("#pragma once\n\n#include <map>\n  #  include ") +
                             c.include + "  // x\nint y;\n";
    const auto found = violations(c.path, text);
    ASSERT_EQ(found.size(), c.why ? 1u : 0u) << c.path << " " << c.include;
    if (c.why) {
      EXPECT_NE(found[0].find(c.why), std::string::npos) << found[0];
    }
  }
}

}  // namespace
