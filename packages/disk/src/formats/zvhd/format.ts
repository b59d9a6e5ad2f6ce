import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { magics, titles } from './header.ts';
import { COMPRESSION } from './write-options.ts';

/**
 * Huawei Cloud's image format for sequential reading: blocks that are one zlib stream. As the vendor's published
 * reference driver of 2018 has it.
 */
export const zvhd: Format = {
  name: 'zvhd',
  title: titles.zvhd,
  extensions: ['zvhd'],
  recognise: ({ head }) => hasMagic(head, magics.zvhd),
  open: async (source, options) => (await import('./reader.ts')).openZvhd(source, options),
  compressions: ['zlib'],
  plan: async (disk, request) => (await import('./stream.ts')).zvhdStream(disk, 'zvhd', 'zlib', request),
  check: async (source, options) => (await import('./check.ts')).checkZvhd(source, options),
};

/** Its successor for reading at random: each block compressed by itself, and an index at the end. */
export const zvhd2: Format = {
  name: 'zvhd2',
  title: titles.zvhd2,
  extensions: ['zvhd2'],
  recognise: ({ head }) => hasMagic(head, magics.zvhd2),
  open: async (source, options) => (await import('./reader.ts')).openZvhd2(source, options),
  options: [COMPRESSION],
  compressions: ['zstd', 'zlib'],
  plan: async (disk, request) => (await import('./plan.ts')).planZvhd2(disk, request),
  check: async (source, options) => (await import('./check.ts')).checkZvhd2(source, options),
};
