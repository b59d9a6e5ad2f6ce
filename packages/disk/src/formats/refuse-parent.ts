import type { Reference } from '../disk/reference-gate.ts';
import { ImageError } from '../errors.ts';
import type { OpenOptions } from './format.ts';

/**
 * Ends the opening of a differencing image. The gate is asked first, so that who denies references sees that
 * refusal (IMAGE_REFERENCE); a parent that is supplied is closed again, since differencing images are not
 * read: IMAGE_UNSUPPORTED.
 */
export async function refuseParent(
  title: string,
  parent: Omit<Reference, 'kind'>,
  hint: string,
  options: OpenOptions,
): Promise<never> {
  const resolved = await options.references.resolve({ kind: 'parent', ...parent }, options.signal);
  await resolved.source.close();
  throw new ImageError('IMAGE_UNSUPPORTED', `a differencing ${title} image is not read`, {
    structure: parent.structure,
    hint,
  });
}
