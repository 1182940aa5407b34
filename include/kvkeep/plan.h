// A plan says how a cache is compressed, as text: slots separated by ';', each a method with
// parameters. Presets are names for plans and take the same parameters: "mikv:keep=0.3,low=u4".
//
//   scorer=damage;budget=uniform:keep=0.2,recent=0.25;high=f16;low=rtn:k=u2,v=u2;transform=none;
//   attend=integer
//
// Every text has one canonical form; parsing that form gives the same plan. docs/methods.md lists
// slots, methods, parameters and presets.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

class Plan {
 public:
  // A preset or a full plan; an error names the slot, the value and what is allowed.
  static Result<Plan> parse(const std::string& text);

  const std::string& canonical() const { return canonical_; }
  const std::string& typed() const { return typed_; }  // what parse() was given

  // One slot: the method and its parameters in their canonical order, defaults filled in.
  struct Slot {
    std::string slot, method;
    std::vector<std::pair<std::string, std::string>> params;
    // The parameter's text; empty when the method has none of that name.
    std::string param(const std::string& name) const;
    double number(const std::string& name) const;
  };
  const Slot& slot(const std::string& name) const;
  const std::vector<Slot>& slots() const { return slots_; }

  bool operator==(const Plan& other) const { return canonical_ == other.canonical_; }

 private:
  std::string typed_, canonical_;
  std::vector<Slot> slots_;
};

}  // namespace kvkeep
