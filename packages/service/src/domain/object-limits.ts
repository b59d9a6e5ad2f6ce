const GIB: number = 1024 ** 3;

// Oracle's documentation, "Using Multipart Uploads"; S3 allows less of each.
export const OBJECT_BYTES_MAX: number = 10 * 1024 * GIB;
export const PART_BYTES_MAX: number = 50 * GIB;
/** As S3, OCI and OBS number them. */
export const LARGEST_PART_NUMBER = 10_000;
