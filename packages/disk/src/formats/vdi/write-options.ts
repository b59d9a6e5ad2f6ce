import type { FormatOption } from '../format.ts';

export const vdiSubformat: FormatOption = {
  name: 'subformat',
  description: 'dynamic holds only the blocks with data, fixed every block',
  values: ['dynamic', 'fixed'],
};
