import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { sliceSource } from '../../io/slice.ts';
import { type TarPlace, walkTar } from './walk.ts';

/** A member of an archive. */
export interface TarMember extends TarPlace {
  /** Its bytes, inside the archive's source. Throws IMAGE_UNSUPPORTED for what is no file. */
  open(): ByteSource;
}

/** Steps in which an arriving member that nobody wants is let pass. */
const PASS_BYTES: number = 4 * MIB;

/**
 * The members of an archive, found by their headers, one after the other. When the archive arrives (a
 * `sequential` source), a member's bytes are there until the next one is asked for. A signal that `next` is given
 * counts from then on. Throws ImageError for a malformed archive.
 */
export async function* tarMembers(
  source: ByteSource,
  signal?: AbortSignal,
): AsyncGenerator<TarMember, void, AbortSignal | undefined> {
  const walk = walkTar(() => source.lengthBytes);
  let latestSignal = signal;
  let passed = 0;
  const seen = source.sequential ? readsSeen(source, (end) => (passed = Math.max(passed, end))) : source;
  for (let step = walk.next(); !step.done; ) {
    const { value } = step;
    if (value.kind === 'member') {
      latestSignal = (yield { ...value.member, open: () => openMember(seen, value.member) }) ?? latestSignal;
      step = walk.next(new Uint8Array());
      continue;
    }
    const { offsetBytes, lengthBytes } = value;
    if (source.sequential) await passTo(seen, passed, offsetBytes, latestSignal);
    const bytes = new Uint8Array(lengthBytes);
    try {
      await seen.read(offsetBytes, bytes, latestSignal);
    } catch (error) {
      // An arriving archive may have no end of its own: here it is known to have ended.
      if (error instanceof ImageError && source.lengthBytes === offsetBytes) return;
      throw error;
    }
    step = walk.next(bytes);
  }
}

/** Takes an arriving stream in up to a place, in steps that keep within what is remembered of it. */
async function passTo(source: ByteSource, from: number, to: number, signal?: AbortSignal): Promise<void> {
  const byte = new Uint8Array(1);
  for (let at = from + PASS_BYTES; at < to; at += PASS_BYTES) await source.read(at, byte, signal);
}

/** The same source, which tells how far it was read. */
function readsSeen(source: ByteSource, see: (endBytes: number) => void): ByteSource {
  return {
    name: source.name,
    sequential: true,
    get lengthBytes() {
      return source.lengthBytes;
    },
    async read(offsetBytes, into, signal) {
      await source.read(offsetBytes, into, signal);
      see(offsetBytes + into.length);
    },
    close: () => source.close(),
  };
}

/** As far as the first bytes of an archive show them; what is malformed there is left to who opens it. */
export function membersInHead(head: Uint8Array): TarPlace[] {
  const members: TarPlace[] = [];
  try {
    const walk = walkTar(() => Number.MAX_SAFE_INTEGER);
    for (let step = walk.next(); !step.done; ) {
      if (step.value.kind === 'member') {
        members.push(step.value.member);
        step = walk.next(new Uint8Array());
        continue;
      }
      const { offsetBytes, lengthBytes } = step.value;
      if (offsetBytes + lengthBytes > head.length) break;
      step = walk.next(head.subarray(offsetBytes, offsetBytes + lengthBytes));
    }
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
  return members;
}

function openMember(source: ByteSource, member: TarPlace): ByteSource {
  if (member.kind === 'file') {
    return sliceSource(source, member.offsetBytes, member.lengthBytes, `${source.name}: ${member.name}`);
  }
  const what = member.kind === 'folder' ? 'a folder' : 'a link, a device or a sparse file';
  throw new ImageError('IMAGE_UNSUPPORTED', `${JSON.stringify(member.name)} is ${what}, not a plain file`, {
    structure: 'tar header',
    offsetBytes: member.offsetBytes - 512,
    hint: 'unpack the archive with tar -x, and pack plain files without --sparse',
  });
}
