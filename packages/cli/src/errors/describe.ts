import type { ImageError, StoreError } from '@gantry/disk';
import { printable } from '../output/printable.ts';
import { CommandError } from './command-error.ts';

interface Description {
  readonly code: string;
  readonly what: string;
  readonly where?: string | undefined;
  readonly why?: string | undefined;
  readonly hint?: string | undefined;
}

/** An error for a person: `error[CODE]: what`, then indented lines where, why and what to do. */
export function errorText(error: unknown, showStack: boolean): string {
  const { code, what, where, why, hint } = describeError(error);
  const lines = [`error[${code}]: ${printable(what)}`];
  if (where !== undefined && !what.includes(where)) lines.push(`  where: ${printable(where)}`);
  if (why !== undefined && !what.includes(why)) lines.push(`  why: ${printable(why)}`);
  if (hint !== undefined) lines.push(`  do: ${printable(hint)}`);
  if (showStack) lines.push(stackText(error));
  return `${lines.join('\n')}\n`;
}

/** The code of an error; INTERNAL for whatever nobody foresaw. */
export function errorCode(error: unknown): string {
  return describeError(error).code;
}

function describeError(error: unknown): Description {
  if (error instanceof CommandError) {
    return {
      code: error.code,
      what: error.message,
      where: error.where,
      why: causeText(error.cause),
      hint: error.hint,
    };
  }
  if (isImageError(error)) {
    const { code, message, structure, offsetBytes } = error;
    const where = offsetBytes === undefined ? structure : `${structure}, at byte ${offsetBytes}`;
    return { code, what: message, where, hint: hintWithFlag(error) };
  }
  if (isStoreError(error)) {
    const { code, message, where, hint } = error;
    return { code, what: message, where, why: causeText(error.cause), hint };
  }
  if (isRefusedByService(error)) {
    const { code, message, hint } = error;
    return { code, what: message, hint };
  }
  return {
    code: 'INTERNAL',
    what: error instanceof Error ? error.message : String(error),
    why: 'this is a fault of the command itself, not of what you gave it',
    hint: 'run it again with GANTRY_DEBUG=1 to see where it happened, and report that',
  };
}

// By their names: the engine is not loaded just to report that a flag is wrong.
export function isImageError(error: unknown): error is ImageError {
  return error instanceof Error && error.name === 'ImageError' && 'structure' in error;
}

export function isStoreError(error: unknown): error is StoreError {
  return error instanceof Error && error.name === 'StoreError' && 'where' in error;
}

/** What a service that is started here does not take, such as the name of a region. */
function isRefusedByService(
  error: unknown,
): error is Error & { readonly code: string; readonly hint?: string } {
  return error instanceof Error && error.name === 'DomainError' && 'code' in error;
}

function hintWithFlag(error: ImageError): string | undefined {
  if (error.code === 'IMAGE_AMBIGUOUS') return 'say what it is with --from FORMAT';
  if (error.code !== 'IMAGE_REFERENCE' || error.hint === undefined) return error.hint;
  return `${error.hint} (--reference NAME=[FORMAT:]FILE, or --references-from FOLDER)`;
}

function causeText(cause: unknown): string | undefined {
  return cause instanceof Error && cause.message !== '' ? cause.message : undefined;
}

function stackText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? error.message;
  return error.cause === undefined ? own : `${own}\ncaused by: ${stackText(error.cause)}`;
}
