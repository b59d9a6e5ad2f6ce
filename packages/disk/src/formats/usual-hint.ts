import type { ImageErrorCode } from '../errors.ts';

const hints: Partial<Record<ImageErrorCode, string>> = {
  IMAGE_MALFORMED: 'the file is damaged: copy or download it again',
  IMAGE_TRUNCATED: 'the file is incomplete: copy or download it again',
  IMAGE_UNSUPPORTED: 'copy it to a plain image first, with the program that made it',
  IMAGE_LIMIT: 'no program makes such an image: the file is damaged, or was made to do harm',
};

/** What the user can do about an image that a reader refuses, where nothing more special is known. */
export function usualHint(code: ImageErrorCode): string | undefined {
  return hints[code];
}
