import { ImageError } from '../errors.ts';
import type { FormatOption, WriteRequest } from './format.ts';

/**
 * The value asked for an option with a list of values, the first of them when none was asked. Throws
 * IMAGE_OPTION for any other value.
 */
export function chosenValue(request: WriteRequest, option: FormatOption): string {
  const values = option.values ?? [];
  const value = request.options[option.name] ?? values[0] ?? '';
  if (values.includes(value)) return value;
  throw new ImageError('IMAGE_OPTION', `${option.name} cannot be ${JSON.stringify(value)}`, {
    structure: `option ${option.name}`,
    hint: `use one of ${values.join(', ')}`,
  });
}
