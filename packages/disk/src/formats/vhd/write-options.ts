import type { FormatOption } from '../format.ts';

export const vhdSubformat: FormatOption = {
  name: 'subformat',
  description:
    'dynamic holds only the blocks with data; fixed is the bare disk with a footer, as Azure takes it',
  values: ['dynamic', 'fixed'],
};

export const vhdSizeAlignment: FormatOption = {
  name: 'size_alignment',
  description: 'the disk size is rounded up to a multiple of this; Azure takes whole MiB only',
  values: ['512', '1M'],
};
