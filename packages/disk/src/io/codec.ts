/** `deflate-raw` is RFC 1951, `zlib` is RFC 1950 around it, `zstd` is RFC 8878. */
export type Compression = 'deflate-raw' | 'zlib' | 'zstd';
