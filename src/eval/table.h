// Plain text tables: columns as wide as their widest cell, numbers to the right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvkeep {

class Table {
 public:
  // A title that begins with '<' (not printed) is a column of text, aligned left.
  explicit Table(std::vector<std::string> titles);
  void add(std::vector<std::string> cells);  // missing cells are empty
  std::string text() const;

 private:
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;  // the titles first
};

// 1234567 -> "1,234,567"
std::string grouped(int64_t n);
// 4.20 MB and the like, three figures
std::string human_bytes(double bytes);

}  // namespace kvkeep
