import type { Disk } from '../disk/disk.ts';
import type { Reference } from '../disk/reference-gate.ts';
import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { OpenOptions } from './format.ts';

/** qemu warns at 200; no real chain that we know of is this deep. */
const CHAIN_DEPTH_LIMIT = 64;

/** A referenced image, opened, with the source that was resolved for it (closed by `close`). */
export interface OpenedReference {
  readonly disk: Disk;
  close(): Promise<void>;
}

/**
 * Resolves a name inside `from` through the gate and opens it as a disk. Its format is the one that the
 * caller or the image declares: it is never guessed, since the guest of a raw base could have written any
 * mark into it. Throws IMAGE_REFERENCE for a refusal, an undeclared format, a loop or a chain too deep.
 */
export async function openReference(
  from: ByteSource,
  reference: Reference,
  options: OpenOptions,
): Promise<OpenedReference> {
  const chain = [...(options.chain ?? []), from];
  const refuse = (why: string, hint: string) =>
    new ImageError('IMAGE_REFERENCE', `${reference.kind} ${JSON.stringify(reference.name)}: ${why}`, {
      structure: reference.structure,
      hint,
    });
  if (chain.length > CHAIN_DEPTH_LIMIT) {
    throw refuse(`the chain is deeper than ${CHAIN_DEPTH_LIMIT}`, 'flatten the chain first');
  }
  const resolved = await options.references.resolve(reference, options.signal);
  try {
    if (chain.some((source) => source === resolved.source || source.name === resolved.source.name)) {
      throw refuse('the chain comes back to a file that it went through', 'supply the right file');
    }
    const declared = resolved.format ?? reference.format;
    if (declared === undefined) {
      throw refuse('neither you nor the image declares its format', 'declare the format of the file');
    }
    // The registry lists the formats that call this: imported when needed, so that neither waits for the other.
    const { formatNamed } = await import('./registry.ts');
    const disk = await formatNamed(declared).open(resolved.source, { ...options, chain });
    return {
      disk,
      async close() {
        await disk.close();
        await resolved.source.close();
      },
    };
  } catch (error) {
    await resolved.source.close();
    throw error;
  }
}
