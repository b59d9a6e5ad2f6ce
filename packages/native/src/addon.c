/* The door to JavaScript: every argument is checked here. Node-API 8; one state a thread. */
#include <errno.h>
#include <math.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gantry_native.h"

/* Of the interface Accelerator in packages/disk/src/io/accelerator.ts. */
#define INTERFACE_VERSION 2
#define ARGUMENTS_MAX 4
/* 2^53 - 1. */
#define SAFE_INTEGER_MAX 9007199254740991.0

typedef struct {
  uint8_t *bytes;
  size_t length;
} span;

/* Gives no value: undefined in JavaScript, or the exception that was thrown. */
#define NOTHING NULL

static napi_value refuse(napi_env env, const char *message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", message);
  return NOTHING;
}

static bool read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values) {
  size_t given = ARGUMENTS_MAX;
  if (napi_get_cb_info(env, info, &given, values, NULL, NULL) == napi_ok && given >= count) return true;
  refuse(env, "too few arguments");
  return false;
}

static bool read_bytes(napi_env env, napi_value value, span *bytes) {
  bool is_array = false;
  napi_typedarray_type type;
  void *data = NULL;
  if (napi_is_typedarray(env, value, &is_array) == napi_ok && is_array &&
      napi_get_typedarray_info(env, value, &type, &bytes->length, &data, NULL, NULL) == napi_ok &&
      type == napi_uint8_array) {
    /* The codecs want an address even where there is nothing: an empty array may have none. */
    static uint8_t nothing[1];
    bytes->bytes = bytes->length == 0 ? nothing : data;
    return true;
  }
  refuse(env, "bytes must be a Uint8Array");
  return false;
}

static bool read_integer(napi_env env, napi_value value, double low, double high, double *number) {
  if (napi_get_value_double(env, value, number) == napi_ok && *number >= low && *number <= high &&
      floor(*number) == *number)
    return true;
  refuse(env, "a number is not an integer of its range");
  return false;
}

static bool read_compression(napi_env env, napi_value value, compression *kind) {
  char name[16];
  size_t length;
  if (napi_get_value_string_latin1(env, value, name, sizeof name, &length) == napi_ok) {
    static const char *const names[] = {[DEFLATE_RAW] = "deflate-raw", [ZLIB] = "zlib", [ZSTD] = "zstd"};
    for (int i = DEFLATE_RAW; i <= ZSTD; i++) {
      if (strlen(names[i]) == length && memcmp(name, names[i], length) == 0) {
        *kind = i;
        return true;
      }
    }
  }
  refuse(env, "a compression is deflate-raw, zlib or zstd");
  return false;
}

/* Both codecs write while they read. */
static bool are_apart(napi_env env, span a, span b) {
  if (a.bytes + a.length <= b.bytes || b.bytes + b.length <= a.bytes) return true;
  refuse(env, "the target overlaps the bytes");
  return false;
}

static codecs *state_of(napi_env env) {
  void *state = NULL;
  napi_get_instance_data(env, &state);
  return state;
}

static napi_value number_value(napi_env env, double number) {
  napi_value value = NOTHING;
  napi_create_double(env, number, &value);
  return value;
}

static napi_value pair_value(napi_env env, const char *name, double number, const char *other, double another) {
  napi_value pair = NOTHING;
  if (napi_create_object(env, &pair) != napi_ok ||
      napi_set_named_property(env, pair, name, number_value(env, number)) != napi_ok ||
      napi_set_named_property(env, pair, other, number_value(env, another)) != napi_ok)
    return NOTHING;
  return pair;
}

static napi_value out_of_memory(napi_env env) {
  napi_throw_error(env, "ERR_MEMORY_ALLOCATION_FAILED", "a codec found no memory");
  return NOTHING;
}

/* compressInto(target, kind, bytes, level) */
static napi_value compress_into(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  span target, bytes;
  compression kind;
  double level;
  if (!read_arguments(env, info, 4, values) || !read_bytes(env, values[0], &target) ||
      !read_compression(env, values[1], &kind) || !read_bytes(env, values[2], &bytes) ||
      !read_integer(env, values[3], kind == ZSTD ? 1 : 0, kind == ZSTD ? ZSTD_LEVEL_MAX : DEFLATE_LEVEL_MAX,
                    &level) ||
      !are_apart(env, target, bytes))
    return NOTHING;
  size_t written = 0;
  codec_result result =
      kind == ZSTD ? zstd_compress(state_of(env), (int)level, bytes.bytes, bytes.length, target.bytes,
                                   target.length, &written)
                   : deflate_compress(state_of(env), kind, (int)level, bytes.bytes, bytes.length, target.bytes,
                                      target.length, &written);
  if (result == CODEC_NO_MEMORY) return out_of_memory(env);
  return number_value(env, result == CODEC_DONE ? (double)written : 0);
}

/* decompressInto(target, kind, bytes) */
static napi_value decompress_into(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  span target, bytes;
  compression kind;
  if (!read_arguments(env, info, 3, values) || !read_bytes(env, values[0], &target) ||
      !read_compression(env, values[1], &kind) || !read_bytes(env, values[2], &bytes) ||
      !are_apart(env, target, bytes))
    return NOTHING;
  size_t written = 0;
  size_t used = 0;
  codec_result result = kind == ZSTD ? zstd_decompress(state_of(env), bytes.bytes, bytes.length, target.bytes,
                                                       target.length, &written, &used)
                                     : deflate_decompress(state_of(env), kind, bytes.bytes, bytes.length,
                                                          target.bytes, target.length, &written, &used);
  if (result == CODEC_NO_MEMORY) return out_of_memory(env);
  if (result == CODEC_NO) return NOTHING;
  return pair_value(env, "writtenBytes", (double)written, "usedBytes", (double)used);
}

static const char *error_name(int number) {
  switch (number) {
    case EBADF:
      return "EBADF";
    case EINVAL:
      return "EINVAL";
    case EIO:
      return "EIO";
    case ENOTSUP:
      return "ENOTSUP";
    case ESPIPE:
      return "ESPIPE";
    default:
      return "UNKNOWN";
  }
}

/* As Node's own errors of system calls: code, errno, syscall. */
static void throw_system_error(napi_env env, int number, const char *call) {
  char text[128];
  snprintf(text, sizeof text, "%s: %s, %s", error_name(number), strerror(number), call);
  napi_value code, message, syscall, error;
  if (napi_create_string_utf8(env, error_name(number), NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_string_utf8(env, call, NAPI_AUTO_LENGTH, &syscall) == napi_ok &&
      napi_create_error(env, code, message, &error) == napi_ok &&
      napi_set_named_property(env, error, "errno", number_value(env, -number)) == napi_ok &&
      napi_set_named_property(env, error, "syscall", syscall) == napi_ok)
    napi_throw(env, error);
}

/* nextData(fileDescriptor, fromBytes) */
static napi_value next_data_of(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  double descriptor, from;
  if (!read_arguments(env, info, 2, values) || !read_integer(env, values[0], 0, INT32_MAX, &descriptor) ||
      !read_integer(env, values[1], 0, SAFE_INTEGER_MAX, &from))
    return NOTHING;
  int64_t start = 0;
  int64_t end = 0;
  data_result result = next_data((int)descriptor, (int64_t)from, &start, &end);
  if (result == DATA_ERROR) throw_system_error(env, errno, "lseek");
  if (result != DATA_FOUND) return NOTHING;
  return pair_value(env, "offsetBytes", (double)start, "endBytes", (double)end);
}

/* adler32(bytes) */
static napi_value adler32_of(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  span bytes;
  if (!read_arguments(env, info, 1, values) || !read_bytes(env, values[0], &bytes)) return NOTHING;
  return number_value(env, deflate_adler32(bytes.bytes, bytes.length));
}

/* looksIncompressible(bytes) */
static napi_value looks_incompressible_of(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  span bytes;
  if (!read_arguments(env, info, 1, values) || !read_bytes(env, values[0], &bytes)) return NOTHING;
  napi_value verdict = NOTHING;
  napi_get_boolean(env, looks_incompressible(bytes.bytes, bytes.length, state_of(env)->last_seen), &verdict);
  return verdict;
}

static void free_state(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  deflate_free(data);
  zstd_free(data);
  free(data);
}

/* `name` tells which bytes the codecs make; the engine uses no other interface than its own. */
static bool set_properties(napi_env env, napi_value exports) {
  char name[96];
  snprintf(name, sizeof name, "native (libdeflate %s, zstd %s)", deflate_version(), zstd_version());
  napi_value value;
  return napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &value) == napi_ok &&
         napi_set_named_property(env, exports, "name", value) == napi_ok &&
         napi_set_named_property(env, exports, "interfaceVersion", number_value(env, INTERFACE_VERSION)) ==
             napi_ok;
}

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NOTHING;
}

NAPI_MODULE_INIT() {
  if (!zstd_load()) return fail(env, "neither this Node nor the system has zstd");
  codecs *state = calloc(1, sizeof *state);
  if (state == NULL) return out_of_memory(env);
  if (napi_set_instance_data(env, state, free_state, NULL) != napi_ok) {
    free(state);
    return fail(env, "the thread takes no state");
  }
  const napi_property_descriptor functions[] = {
      {"nextData", NULL, next_data_of, NULL, NULL, NULL, napi_enumerable, NULL},
      {"compressInto", NULL, compress_into, NULL, NULL, NULL, napi_enumerable, NULL},
      {"decompressInto", NULL, decompress_into, NULL, NULL, NULL, napi_enumerable, NULL},
      {"adler32", NULL, adler32_of, NULL, NULL, NULL, napi_enumerable, NULL},
      {"looksIncompressible", NULL, looks_incompressible_of, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok ||
      !set_properties(env, exports))
    return fail(env, "the functions cannot be defined");
  return exports;
}
