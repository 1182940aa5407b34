// Bit planes: bit h of many vectors side by side, 64 vectors to a word. Built from scores by a
// threshold, and compared with one vector by Hamming distance.
//
// A table of its own beside KernelTable, because it has to do with choosing tokens and not with
// reading them: scalar is the specification, and every wider instruction set takes the AVX2 form,
// which waits for memory already.
#pragma once

#include <cstdint>

namespace kvkeep {

struct PlaneKernels {
  // Bit i says whether x[i] > threshold, as signed 16-bit words (ordered_f16 in
  // codec/representatives): n bits in whole 64-bit words, zero beyond n.
  void (*bits_above)(const uint16_t* x, int n, uint16_t threshold, uint64_t* bits);
  // Hamming distances to `anchor` [heads], 0 or 1, of 64 * words vectors whose bits are planes
  // [heads][words], 0 < heads < 65536: their binary digits, [digits of heads][words].
  void (*hamming_digits)(const uint64_t* planes, int heads, int words, const uint8_t* anchor,
                         uint64_t* digits);
  // Of the vectors marked in `among`, those at one distance: marks, and how many a word has.
  void (*hamming_match)(const uint64_t* digits, int count, int words, int distance,
                        const uint64_t* among, uint64_t* match, uint8_t* bits);
};

const PlaneKernels& plane_kernels();  // of the instruction set that kernels() runs

namespace scalar {
extern const PlaneKernels kPlanes;
}
namespace avx2 {
extern const PlaneKernels kPlanes;
}

}  // namespace kvkeep
