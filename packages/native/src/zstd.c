/*
 * RFC 8878 by the zstd that Node itself has and exports, so that both tiers make the same bytes; by the system's
 * library where Node has none to give. Only functions of its stable interface, declared here: no header is needed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "gantry_native.h"

enum { C_COMPRESSION_LEVEL = 100, ERROR_MEMORY_ALLOCATION = 64, ERROR_TARGET_TOO_SMALL = 70 };

/* Writers make one. Each has a fixed cost, and one can be as short as 9 bytes. */
#define FRAME_COUNT_MAX 64

static struct {
  const char *(*version)(void);
  unsigned (*is_error)(size_t);
  unsigned (*error_code)(size_t);
  void *(*new_compressor)(void);
  size_t (*free_compressor)(void *);
  size_t (*set_parameter)(void *, int, int);
  size_t (*compress)(void *, void *, size_t, const void *, size_t);
  size_t (*frame_length)(const void *, size_t);
  void *(*new_decompressor)(void);
  size_t (*free_decompressor)(void *);
  size_t (*decompress)(void *, void *, size_t, const void *, size_t);
} zstd;

/* ISO C has no conversion of an object's address to a function's: POSIX's way. */
#define FIND(field, name) (*(void **)&zstd.field = dlsym(library, name)) != NULL

static bool find(void *library) {
  return FIND(version, "ZSTD_versionString") && FIND(is_error, "ZSTD_isError") &&
         FIND(error_code, "ZSTD_getErrorCode") && FIND(new_compressor, "ZSTD_createCCtx") &&
         FIND(free_compressor, "ZSTD_freeCCtx") && FIND(set_parameter, "ZSTD_CCtx_setParameter") &&
         FIND(compress, "ZSTD_compress2") && FIND(frame_length, "ZSTD_findFrameCompressedSize") &&
         FIND(new_decompressor, "ZSTD_createDCtx") && FIND(free_decompressor, "ZSTD_freeDCtx") &&
         FIND(decompress, "ZSTD_decompressDCtx");
}

static bool is_found = false;

static void load(void) {
  void *library = NULL;
  is_found = find(RTLD_DEFAULT) ||
             ((library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL)) != NULL && find(library));
}

bool zstd_load(void) {
  /* Every thread that loads the addon comes here. */
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return is_found;
}

codec_result zstd_compress(codecs *state, int level, const void *bytes, size_t length, void *target,
                           size_t capacity, size_t *written) {
  if (state->zstd_compressor == NULL) state->zstd_compressor = zstd.new_compressor();
  if (state->zstd_compressor == NULL) return CODEC_NO_MEMORY;
  size_t result = zstd.set_parameter(state->zstd_compressor, C_COMPRESSION_LEVEL, level);
  if (!zstd.is_error(result)) result = zstd.compress(state->zstd_compressor, target, capacity, bytes, length);
  if (!zstd.is_error(result)) {
    *written = result;
    return CODEC_DONE;
  }
  return zstd.error_code(result) == ERROR_TARGET_TOO_SMALL ? CODEC_NO : CODEC_NO_MEMORY;
}

static bool is_frame(const uint8_t *bytes, size_t length) {
  /* Neither a skippable frame nor one of a version before 1. */
  static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
  return length >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

codec_result zstd_decompress(codecs *state, const void *bytes, size_t length, void *target, size_t capacity,
                             size_t *written, size_t *used) {
  const uint8_t *source = bytes;
  if (state->zstd_decompressor == NULL) state->zstd_decompressor = zstd.new_decompressor();
  if (state->zstd_decompressor == NULL) return CODEC_NO_MEMORY;
  *written = 0;
  *used = 0;
  for (int count = 0; count == 0 || *written < capacity; count++) {
    if (!is_frame(source + *used, length - *used)) return count == 0 ? CODEC_NO : CODEC_DONE;
    if (count == FRAME_COUNT_MAX) return CODEC_NO;
    size_t frame = zstd.frame_length(source + *used, length - *used);
    if (zstd.is_error(frame)) return CODEC_NO;
    size_t result = zstd.decompress(state->zstd_decompressor, (uint8_t *)target + *written, capacity - *written,
                                    source + *used, frame);
    if (zstd.is_error(result))
      return zstd.error_code(result) == ERROR_MEMORY_ALLOCATION ? CODEC_NO_MEMORY : CODEC_NO;
    *used += frame;
    *written += result;
  }
  return CODEC_DONE;
}

const char *zstd_version(void) { return zstd.version(); }

void zstd_free(codecs *state) {
  if (state->zstd_compressor != NULL) zstd.free_compressor(state->zstd_compressor);
  if (state->zstd_decompressor != NULL) zstd.free_decompressor(state->zstd_decompressor);
}
