import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { Format, ProbeBytes } from './format.ts';
import { raw } from './raw/format.ts';
import { recognisableFormats } from './registry.ts';

const HEAD_BYTES = 64 * 1024;
const TAIL_BYTES = 1024;

/**
 * The one format whose mark these bytes carry; raw when none does. Every format is asked. Throws
 * IMAGE_AMBIGUOUS when more than one answers: such a file means different disks to different programs.
 */
export async function probeFormat(source: ByteSource, signal?: AbortSignal): Promise<Format> {
  const probe = await readProbeBytes(source, signal);
  const matches = recognisableFormats.filter((format) => format.recognise(probe));
  if (matches.length > 1) {
    const names = matches.map((format) => format.name).join(' and ');
    throw new ImageError('IMAGE_AMBIGUOUS', `${source.name} carries the marks of ${names}`, {
      structure: 'format marks',
      hint: 'declare the format that you know it to be',
    });
  }
  return matches[0] ?? raw;
}

async function readProbeBytes(source: ByteSource, signal: AbortSignal | undefined): Promise<ProbeBytes> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.lengthBytes));
  const tail = new Uint8Array(Math.min(TAIL_BYTES, source.lengthBytes));
  await source.read(0, head, signal);
  await source.read(source.lengthBytes - tail.length, tail, signal);
  return { head, tail, lengthBytes: source.lengthBytes };
}
