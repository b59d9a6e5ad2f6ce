import { InvalidArgumentError, Option } from 'commander';

type FormatOptions = Readonly<Record<string, string>>;

/** `-O name=value`, any number of them. */
export function formatOption(): Option {
  return new Option('-O, --option <name=value>', 'option of the target format (repeatable)').argParser(
    (text: string, previous: FormatOptions = {}) => {
      const at = text.indexOf('=');
      if (at < 1) throw new InvalidArgumentError('Write name=value.');
      const name = text.slice(0, at);
      if (Object.hasOwn(previous, name)) throw new InvalidArgumentError(`${name} is given twice.`);
      return { ...previous, [name]: text.slice(at + 1) };
    },
  );
}

export function compressOption(): Option {
  return new Option('--compress <method>', 'compress the data, where the format can').choices([
    'zlib',
    'zstd',
  ]);
}

export function waitTimeoutOption(): Option {
  return new Option('--timeout <seconds>', 'wait no longer than this; the job goes on').argParser(
    parsePositiveNumber,
  );
}

export function parsePositiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Write a number above 0.');
}

const DAY_SECONDS = 86_400;

export function parseSeconds(text: string): number {
  const value = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && value <= DAY_SECONDS) return value;
  throw new InvalidArgumentError(`Write seconds, up to ${DAY_SECONDS}.`);
}

const SEED_BYTES = 32;

/** 64 hex digits. */
export function parseSeed(text: string): Uint8Array {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Uint8Array.fromHex(text);
  throw new InvalidArgumentError(`Write ${SEED_BYTES} bytes as ${SEED_BYTES * 2} hex digits.`);
}

/** A number of bytes. */
export function parseLength(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Write a number of bytes.');
}

/** A number of things, or of one of them, from 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (/^[1-9]\d*$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Write a whole number above 0.');
}
