#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <unistd.h>

#include "gantry_native.h"

data_result next_data(int descriptor, int64_t from, int64_t *start, int64_t *end) {
  off_t found = lseek(descriptor, from, SEEK_DATA);
  /* lseek(2): `from` is in the hole at the end of the file, or behind the end. */
  if (found < 0) return errno == ENXIO ? DATA_NONE : DATA_ERROR;
  off_t hole = lseek(descriptor, found, SEEK_HOLE);
  /* The file was cut between the two calls. */
  if (hole < 0) return errno == ENXIO ? DATA_NONE : DATA_ERROR;
  *start = found;
  *end = hole;
  return hole > found ? DATA_FOUND : DATA_NONE;
}
