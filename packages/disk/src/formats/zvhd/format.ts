import { hasMagic } from '../../bytes/fields.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Format, FormatOption, WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { checkZvhd, checkZvhd2 } from './check.ts';
import { magics, titles } from './header.ts';
import { openZvhd, openZvhd2 } from './reader.ts';
import { zvhdStream } from './stream.ts';

const COMPRESSION: FormatOption = {
  name: 'compression',
  description: 'how each block is compressed; zstd is what the cloud writes',
  values: ['zstd', 'zlib'],
};

/**
 * Huawei Cloud's image format for sequential reading: blocks that are one zlib stream. As the vendor's published
 * reference driver of 2018 has it.
 */
export const zvhd: Format = {
  name: 'zvhd',
  title: titles.zvhd,
  extensions: ['zvhd'],
  recognise: ({ head }) => hasMagic(head, magics.zvhd),
  open: openZvhd,
  compressions: ['zlib'],
  plan: (disk, request) => zvhdStream(disk, 'zvhd', 'zlib', request),
  check: checkZvhd,
};

/** Its successor for reading at random: each block compressed by itself, and an index at the end. */
export const zvhd2: Format = {
  name: 'zvhd2',
  title: titles.zvhd2,
  extensions: ['zvhd2'],
  recognise: ({ head }) => hasMagic(head, magics.zvhd2),
  open: openZvhd2,
  options: [COMPRESSION],
  compressions: ['zstd', 'zlib'],
  plan: planZvhd2,
  check: checkZvhd2,
};

async function planZvhd2(disk: Disk, request: WriteRequest): Promise<ImageStream> {
  const chosen = chosenValue(request, COMPRESSION) === 'zlib' ? 'zlib' : 'zstd';
  const { compression = chosen } = request;
  if (compression === chosen || request.options[COMPRESSION.name] === undefined)
    return zvhdStream(disk, 'zvhd2', compression, request);
  throw new ImageError('IMAGE_OPTION', `the compression is asked to be ${chosen} and ${compression}`, {
    structure: `option ${COMPRESSION.name}`,
    hint: 'ask for one of them',
  });
}
