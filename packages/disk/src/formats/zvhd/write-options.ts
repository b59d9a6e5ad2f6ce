import type { FormatOption } from '../format.ts';

export const COMPRESSION: FormatOption = {
  name: 'compression',
  description: 'how each block is compressed; zstd is what the cloud writes',
  values: ['zstd', 'zlib'],
};
