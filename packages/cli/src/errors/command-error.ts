import type { CommandErrorCode } from './codes.ts';

export interface CommandErrorPlace {
  /** The file, address or argument that it is about. */
  readonly where?: string | undefined;
  /** What the user can do. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** A failure that the user can understand, with a code. */
export class CommandError extends Error {
  readonly code: string;
  readonly where: string | undefined;
  readonly hint: string | undefined;

  constructor(code: CommandErrorCode, message: string, place?: CommandErrorPlace);
  constructor(code: string, message: string, place?: CommandErrorPlace);
  constructor(code: string, message: string, place: CommandErrorPlace = {}) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause });
    this.name = 'CommandError';
    this.code = code;
    this.where = place.where;
    this.hint = place.hint;
  }
}

export function usageError(message: string, hint?: string): CommandError {
  return new CommandError('USAGE', message, { hint });
}
