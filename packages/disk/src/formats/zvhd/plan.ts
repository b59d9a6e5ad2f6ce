import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { zvhdStream } from './stream.ts';
import { COMPRESSION } from './write-options.ts';

export async function planZvhd2(disk: Disk, request: WriteRequest): Promise<ImageStream> {
  const chosen = chosenValue(request, COMPRESSION) === 'zlib' ? 'zlib' : 'zstd';
  const { compression = chosen } = request;
  if (compression === chosen || request.options[COMPRESSION.name] === undefined)
    return zvhdStream(disk, 'zvhd2', compression, request);
  throw new ImageError('IMAGE_OPTION', `the compression is asked to be ${chosen} and ${compression}`, {
    structure: `option ${COMPRESSION.name}`,
    hint: 'ask for one of them',
  });
}
