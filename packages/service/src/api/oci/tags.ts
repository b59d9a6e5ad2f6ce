import { z } from 'zod';
import type { Tags } from '../../domain/tags.ts';

const values = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/** The tags in the body of a request that creates or changes something. */
export const tagFields = {
  freeformTags: z.record(z.string(), z.string()).nullish(),
  definedTags: z.record(z.string(), values).nullish(),
};

/** For TagPolicy.check. */
export function sentTags(body: {
  readonly freeformTags?: Tags['freeform'] | null | undefined;
  readonly definedTags?: Tags['defined'] | null | undefined;
}): { readonly freeform: Tags['freeform'] | undefined; readonly defined: Tags['defined'] | undefined } {
  return { freeform: body.freeformTags ?? undefined, defined: body.definedTags ?? undefined };
}

/** The tags in an answer. */
export function tagBody(tags: Tags): {
  readonly freeformTags: Tags['freeform'];
  readonly definedTags: Tags['defined'];
} {
  return { freeformTags: tags.freeform, definedTags: tags.defined };
}
