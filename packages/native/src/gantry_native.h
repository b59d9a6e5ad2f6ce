#ifndef GANTRY_NATIVE_H
#define GANTRY_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Codecs and files know nothing of JavaScript: addon.c checks what comes from there, and asks them. */

typedef enum { DEFLATE_RAW, ZLIB, ZSTD } compression;

#define DEFLATE_LEVEL_MAX 12
#define ZSTD_LEVEL_MAX 22

#define SEQUENCE_MEMORY_BITS 14

/* What one thread keeps from call to call. Made when first needed; all null at the start. */
typedef struct {
  struct libdeflate_compressor *deflate[DEFLATE_LEVEL_MAX + 1];
  struct libdeflate_decompressor *inflate;
  void *zstd_compressor;
  void *zstd_decompressor;
  uint32_t last_seen[1 << SEQUENCE_MEMORY_BITS];
} codecs;

typedef enum {
  CODEC_DONE,
  /* Damaged input, or output that does not fit. */
  CODEC_NO,
  CODEC_NO_MEMORY
} codec_result;

codec_result deflate_compress(codecs *state, compression kind, int level, const void *bytes, size_t length,
                              void *target, size_t capacity, size_t *written);
codec_result deflate_decompress(codecs *state, compression kind, const void *bytes, size_t length, void *target,
                                size_t capacity, size_t *written, size_t *used);
uint32_t deflate_adler32(const void *bytes, size_t length);
const char *deflate_version(void);
void deflate_free(codecs *state);

/* Finds zstd in the process or among the system's libraries; false when there is none. */
bool zstd_load(void);
codec_result zstd_compress(codecs *state, int level, const void *bytes, size_t length, void *target,
                           size_t capacity, size_t *written);
/* One frame, and those that follow it while there is room in the target. */
codec_result zstd_decompress(codecs *state, const void *bytes, size_t length, void *target, size_t capacity,
                             size_t *written, size_t *used);
const char *zstd_version(void);
void zstd_free(codecs *state);

/* True when compression would save about one per cent at most. `last_seen` has 2^SEQUENCE_MEMORY_BITS places. */
bool looks_incompressible(const uint8_t *bytes, size_t length, uint32_t *last_seen);

typedef enum { DATA_FOUND, DATA_NONE, DATA_ERROR } data_result;

/* The first range at or after `from` that is not a hole. After DATA_ERROR errno tells why. */
data_result next_data(int descriptor, int64_t from, int64_t *start, int64_t *end);

#endif
