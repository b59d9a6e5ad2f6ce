/* RFC 1951 and RFC 1950 by libdeflate: a whole buffer at a time, with a window of 32 KiB. */
#include <libdeflate.h>

#include "gantry_native.h"

codec_result deflate_compress(codecs *state, compression kind, int level, const void *bytes, size_t length,
                              void *target, size_t capacity, size_t *written) {
  struct libdeflate_compressor **compressor = &state->deflate[level];
  if (*compressor == NULL) *compressor = libdeflate_alloc_compressor(level);
  if (*compressor == NULL) return CODEC_NO_MEMORY;
  *written = kind == ZLIB ? libdeflate_zlib_compress(*compressor, bytes, length, target, capacity)
                          : libdeflate_deflate_compress(*compressor, bytes, length, target, capacity);
  return *written == 0 ? CODEC_NO : CODEC_DONE;
}

codec_result deflate_decompress(codecs *state, compression kind, const void *bytes, size_t length, void *target,
                                size_t capacity, size_t *written, size_t *used) {
  if (state->inflate == NULL) state->inflate = libdeflate_alloc_decompressor();
  if (state->inflate == NULL) return CODEC_NO_MEMORY;
  enum libdeflate_result result =
      kind == ZLIB
          ? libdeflate_zlib_decompress_ex(state->inflate, bytes, length, target, capacity, used, written)
          : libdeflate_deflate_decompress_ex(state->inflate, bytes, length, target, capacity, used, written);
  return result == LIBDEFLATE_SUCCESS ? CODEC_DONE : CODEC_NO;
}

uint32_t deflate_adler32(const void *bytes, size_t length) { return libdeflate_adler32(1, bytes, length); }

const char *deflate_version(void) { return LIBDEFLATE_VERSION_STRING; }

void deflate_free(codecs *state) {
  for (int level = 0; level <= DEFLATE_LEVEL_MAX; level++) libdeflate_free_compressor(state->deflate[level]);
  libdeflate_free_decompressor(state->inflate);
}
