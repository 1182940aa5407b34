// The Vec operations of the instruction set being compiled. A source per ISA names it before any
// include: KVKEEP_TARGET is its namespace, KVKEEP_VEC the header of its operations.
#pragma once

#include KVKEEP_VEC
