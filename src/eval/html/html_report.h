// Results as one page that needs nothing but itself: style, scripts, the chart library and the
// figures are in the file, and its content policy forbids everything else.
//
// The page is script.js drawing one block of JSON. Names of plans and files, prompts and commands
// come from outside; they enter the page as JSON in which <, > and & are escaped, and the script
// writes them as text only, so none of them can become markup.
#pragma once

#include <string>

#include "eval/html/prompt_map.h"
#include "eval/report.h"

namespace kvkeep {

struct HtmlReport {
  const Json& eval;  // the object that eval --json prints
  const PromptMap& prompt;
  std::string tables;  // the same results as text, for browsers without scripts
  std::string date;    // of the run, for people
};

std::string html_page(const HtmlReport& report);

Json prompt_map_json(const PromptMap& map);
// JSON on one line that may stand in a <script> element: ASCII, with <, > and & as \u escapes.
std::string script_json(const Json& json);
// Text that may stand in an element.
std::string escape_html(const std::string& text);

}  // namespace kvkeep
