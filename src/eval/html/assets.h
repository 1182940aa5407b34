// The parts of the report page, embedded by the build (cmake/embed.cmake): the files of this
// folder, and Chart.js as the system packages it.
#pragma once

#include <string_view>

namespace kvkeep {

extern const std::string_view kPageHtml;  // {{style}}, {{data}}, ... are filled in
extern const std::string_view kPageStyle;
extern const std::string_view kPageScript, kChartScript, kTierMapScript;  // run in this order
extern const std::string_view kChartLibrary;  // empty where the build found none

}  // namespace kvkeep
