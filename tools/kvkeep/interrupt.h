// Ctrl-C asks for a clean end: the first one sets a flag that long calls see through their
// ProgressFn, a second one ends the program at once.
#pragma once

namespace kvkeep {

void catch_interrupts();
bool interrupted();

}  // namespace kvkeep
