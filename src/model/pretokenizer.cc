#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/fail.h"
#include "model/unicode.h"

namespace kvkeep {
namespace {

// Stands where the expressions below say %s: white space as Unicode defines it (PCRE2's \s would
// also take U+180E).
constexpr const char* kSpaces =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^%s\p{L}\p{N}]+|[%s]+(?![^%s])|[%s]+)";
constexpr const char* kLlama3[] = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^%s\p{L}\p{N}]+[\r\n]*|[%s]*[\r\n]+|[%s]+(?![^%s])|[%s]+)"};
constexpr const char* kQwen2[] = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                                  R"( ?[^%s\p{L}\p{N}]+[\r\n]*|[%s]*[\r\n]+|[%s]+(?![^%s])|[%s]+)"};
constexpr const char* kGpt2Stages[] = {kGpt2};
constexpr const char* kSmollm[] = {R"(\p{N})", kGpt2};
constexpr const char* kDefault[] = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9]{3}"};

struct Family {
  const char* name;
  std::span<const char* const> stages;
};
constexpr Family kFamilies[] = {{"gpt-2", kGpt2Stages},
                                {"llama-bpe", kLlama3},
                                {"qwen2", kQwen2},
                                {"smollm", kSmollm},
                                {"default", kDefault}};

std::string expand(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern.substr(i, 2) == "%s") {
      out += kSpaces;
      ++i;
    } else {
      out += pattern[i];
    }
  }
  return out;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

class Pretokenizer::Stage {
 public:
  explicit Stage(std::string_view pattern) {
    const std::string text = expand(pattern);
    int error = 0;
    PCRE2_SIZE where = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr));
    KVKEEP_CHECK(code_, "pattern {} at {}: error {}", text, where, error);
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower, not wrong
    // The expressions are linear in the text; the default limits would stop in long white space.
    context_.reset(pcre2_match_context_create(nullptr));
    KVKEEP_CHECK(context_, "out of memory");
    pcre2_set_match_limit(context_.get(), std::numeric_limits<uint32_t>::max());
    pcre2_set_heap_limit(context_.get(), std::numeric_limits<uint32_t>::max());
  }

  void split(std::string_view text, std::vector<std::string_view>& pieces) const {
    const std::unique_ptr<pcre2_match_data, FreeMatch> data(pcre2_match_data_create(1, nullptr));
    KVKEEP_CHECK(data, "out of memory");
    for (size_t at = 0; at < text.size();) {
      size_t begin = text.size(), end = text.size();
      if (match(text, at, data.get())) {
        const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());
        begin = found[0];
        end = found[1];
      }
      if (begin > at) pieces.push_back(text.substr(at, begin - at));
      if (end > begin) pieces.push_back(text.substr(begin, end - begin));
      at = end;
    }
  }

 private:
  // No expression matches the empty text, so every match moves forward.
  bool match(std::string_view text, size_t at, pcre2_match_data* data) const {
    const auto run = [&](uint32_t options) {
      return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                         PCRE2_NO_UTF_CHECK | options, data, context_.get());
    };
    int result = run(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);
    return result >= 0;
  }

  std::unique_ptr<pcre2_code, FreeCode> code_;
  std::unique_ptr<pcre2_match_context, FreeContext> context_;
};

Pretokenizer::Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;
Pretokenizer::~Pretokenizer() = default;

Result<Pretokenizer> Pretokenizer::make(std::string_view name) {
  std::string allowed;
  for (const Family& family : kFamilies) {
    allowed += std::string(allowed.empty() ? "" : ", ") + family.name;
    if (family.name != name) continue;
    Pretokenizer made;
    for (const char* pattern : family.stages) made.stages_.emplace_back(pattern);
    return made;
  }
  return bad_input("pre-tokenizer is '{}', allowed are {}", printable(name), allowed);
}

void Pretokenizer::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  if (stages_.size() == 1) return stages_[0].split(text, pieces);
  std::vector<std::string_view> current{text}, next;
  for (const Stage& stage : stages_) {
    next.clear();
    for (const std::string_view piece : current) stage.split(piece, next);
    std::swap(current, next);
  }
  pieces.insert(pieces.end(), current.begin(), current.end());
}

}  // namespace kvkeep
