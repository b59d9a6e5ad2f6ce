import { MIB } from '../bytes/numbers.ts';
import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { Format, ProbeBytes } from './format.ts';
import { raw } from './raw/format.ts';
import { recognisableFormats } from './registry.ts';

const HEAD_BYTES = 64 * 1024;
const TAIL_BYTES = 1024;
/** An arriving file that is kept whole can be read at its end as well. */
const KEPT_BYTES: number = 24 * MIB;

/**
 * The one format whose mark these bytes carry; raw when none does. Every format is asked. Throws
 * IMAGE_AMBIGUOUS when more than one answers: such a file means different disks to different programs. Of what
 * arrives, the end is not seen: without a mark at the start it is IMAGE_NOT_SEQUENTIAL.
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
  const [format] = matches;
  if (format !== undefined) return format;
  if (isEndSeen(source)) return raw;
  throw new ImageError('IMAGE_NOT_SEQUENTIAL', `${source.name} has no mark of a format at its start`, {
    structure: 'format marks',
    hint: 'raw disks and fixed VHDs look so: declare the format, or put it into a file first',
  });
}

/** A mark can stand at the end of a file, where an arriving one is not read before its middle. */
function isEndSeen({ sequential, openEnded, lengthBytes }: ByteSource): boolean {
  return sequential !== true || (openEnded !== true && lengthBytes <= KEPT_BYTES);
}

async function readProbeBytes(source: ByteSource, signal: AbortSignal | undefined): Promise<ProbeBytes> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.lengthBytes));
  const tail = new Uint8Array(isEndSeen(source) ? Math.min(TAIL_BYTES, source.lengthBytes) : 0);
  await source.read(0, head, signal);
  if (tail.length > 0) await source.read(source.lengthBytes - tail.length, tail, signal);
  return { head, tail, lengthBytes: source.lengthBytes };
}
