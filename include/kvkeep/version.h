// Version of the library. Before 1.0 any minor version may change the API; file formats carry their
// own versions.
#pragma once

namespace kvkeep {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace kvkeep
