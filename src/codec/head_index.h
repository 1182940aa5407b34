// One (layer, kv_head): what scores, budgets and learned transforms are held for.
#pragma once

namespace kvkeep {

struct HeadIndex {
  int layer = 0, kv_head = 0;
};

}  // namespace kvkeep
