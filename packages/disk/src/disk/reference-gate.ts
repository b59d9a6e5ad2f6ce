import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';

/** A name that stands inside an image and means another file. It is data: never opened by itself. */
export interface Reference {
  readonly kind: 'backing file' | 'extent file' | 'external data file' | 'parent';
  /** As the image spells it. */
  readonly name: string;
  /** The format that the image declares for it, when it does. */
  readonly format?: string | undefined;
  /** The structure that holds the name, for errors. */
  readonly structure: string;
}

export interface ResolvedReference {
  readonly source: ByteSource;
  /** The format that the caller declares; it goes before what the image says. */
  readonly format?: string | undefined;
}

/** Decides which file, if any, a reference means. A required argument wherever an image is opened. */
export interface ReferenceGate {
  /** Gives the source that the caller means by this name, or throws IMAGE_REFERENCE. */
  resolve(reference: Reference, signal?: AbortSignal): Promise<ResolvedReference>;
}

/** Refuses every reference. */
export const denyReferences: ReferenceGate = {
  async resolve(reference) {
    throw refusal(reference);
  },
};

/** Opens only what the caller supplies: image's own spelling of the name to an opener. */
export function suppliedReferences(
  supplied: ReadonlyMap<string, () => Promise<ResolvedReference>>,
): ReferenceGate {
  return {
    async resolve(reference) {
      const open = supplied.get(reference.name);
      if (open === undefined) throw refusal(reference);
      return open();
    },
  };
}

function refusal(reference: Reference): ImageError {
  const article = reference.kind.startsWith('e') ? 'an' : 'a';
  return new ImageError(
    'IMAGE_REFERENCE',
    `the image names ${article} ${reference.kind}, ${JSON.stringify(reference.name)}, which was not supplied`,
    {
      structure: reference.structure,
      hint: `supply the file for this name if you trust it, or flatten the image first`,
    },
  );
}
