import type { FormatOption } from '../format.ts';

export const SUBFORMAT: FormatOption = {
  name: 'subformat',
  description: 'dynamic holds only the blocks with data, fixed every block',
  values: ['dynamic', 'fixed'],
};
export const BLOCK_SIZE: FormatOption = {
  name: 'block_size',
  description:
    'bytes of a block, a power of two from 1048576 to 268435456; when not given the smallest with at most 1048576 blocks',
};
export const LOGICAL_SECTOR_SIZE: FormatOption = {
  name: 'logical_sector_size',
  description: 'bytes of a sector as the guest sees it; qemu reads 512 only',
  values: ['512', '4096'],
};
export const vhdxOptions: readonly FormatOption[] = [SUBFORMAT, BLOCK_SIZE, LOGICAL_SECTOR_SIZE];
