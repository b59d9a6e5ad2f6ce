/* The same verdict, bit for bit, as packages/disk/src/bytes/incompressible.ts, which explains it. */
#include <string.h>

#include "gantry_native.h"

#define LEAST_BYTES 4096
#define WINDOW_STRIDE 256
#define WINDOW_BYTES 32
#define PHASES 7
#define PAIRS_BOUND 12
#define WINDOWS_AN_ISLAND 128
#define SKEW_BOUND 0.05
#define REMEMBERED_STRIDE 16
#define LOOKUP_STRIDE 512
#define LOOKUP_STEP 64

static unsigned equal_pairs(const uint8_t *window, uint32_t *counts) {
  uint8_t seen[256] = {0};
  unsigned pairs = 0;
  for (size_t i = 0; i < WINDOW_BYTES; i++) {
    pairs += seen[window[i]]++;
    counts[window[i]]++;
  }
  return pairs;
}

static bool is_even_everywhere(const uint8_t *bytes, size_t length) {
  const size_t window_count = length / WINDOW_STRIDE;
  uint32_t counts[256] = {0};
  size_t islands = 0;
  for (size_t i = 0; i < window_count; i++) {
    const uint8_t *window = bytes + i * WINDOW_STRIDE + (i % PHASES) * WINDOW_BYTES;
    if (equal_pairs(window, counts) >= PAIRS_BOUND && ++islands * WINDOWS_AN_ISLAND >= window_count) return false;
  }
  double squares = 0;
  for (size_t i = 0; i < 256; i++) squares += (double)counts[i] * counts[i];
  const double total = (double)window_count * WINDOW_BYTES;
  const double chi_squared = squares * 256 / total - total;
  return (chi_squared - 255) / total <= SKEW_BOUND;
}

static uint32_t sequence_at(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The high bits of a product with 2^32 divided by the golden ratio. */
static uint32_t memory_of(uint32_t sequence) { return sequence * 0x9e3779b1u >> (32 - SEQUENCE_MEMORY_BITS); }

static bool repeats(const uint8_t *bytes, size_t length, uint32_t *last_seen) {
  memset(last_seen, 0, sizeof *last_seen << SEQUENCE_MEMORY_BITS);
  for (size_t start = 0; start + LOOKUP_STRIDE <= length; start += LOOKUP_STRIDE) {
    const size_t first = start + start / LOOKUP_STRIDE % PHASES * LOOKUP_STEP;
    for (size_t at = first; at < first + REMEMBERED_STRIDE; at++) {
      const uint32_t sequence = sequence_at(bytes + at);
      const uint32_t seen = last_seen[memory_of(sequence)];
      if (seen < at && sequence_at(bytes + seen) == sequence) return true;
    }
    for (size_t at = start; at < start + LOOKUP_STRIDE; at += REMEMBERED_STRIDE)
      last_seen[memory_of(sequence_at(bytes + at))] = (uint32_t)at;
  }
  return false;
}

bool looks_incompressible(const uint8_t *bytes, size_t length, uint32_t *last_seen) {
  return length >= LEAST_BYTES && is_even_everywhere(bytes, length) && !repeats(bytes, length, last_seen);
}
