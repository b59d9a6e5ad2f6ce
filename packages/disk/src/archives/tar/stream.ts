import { viewOf } from '../../bytes/fields.ts';
import { MIB, roundUp } from '../../bytes/numbers.ts';
import { invariant } from '../../errors.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk } from '../../view/image-stream.ts';
import { TAR_BLOCK_BYTES } from './header.ts';
import { tarEndBytes } from './layout.ts';

/** A digest of the member's bytes, which come in order. What `save` gives is put into checkpoints. */
interface MemberDigest {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
  save(): Uint8Array;
  restore(saved: Uint8Array): void;
}

/** What stands around a member of unknown length, made when that is known. */
export interface TarStreamParts {
  /** Bytes before the member's own, its header included. */
  readonly headBytes: number;
  head(memberBytes: number): Uint8Array;
  /** Whole members that follow, at most `tailBytesMax`; given the digest of the member. */
  tail?(memberBytes: number, digest: Uint8Array): Uint8Array;
  readonly tailBytesMax?: number;
  newDigest?(): MemberDigest;
}

/**
 * An archive around a member that is itself a stream: what stands before the member holds its length, and is
 * written last, before the front of the member itself.
 */
export function tarStream(format: string, inner: ImageStream, parts: TarStreamParts): ImageStream {
  const { headBytes, tailBytesMax = 0 } = parts;
  invariant(
    parts.newDigest === undefined || inner.frontBytes === 0,
    'a member that is digested comes in order',
  );
  const mostBytes = roundUp(headBytes + inner.maximumLengthBytes, TAR_BLOCK_BYTES) + tailBytesMax;
  return {
    kind: 'stream',
    format,
    frontBytes: headBytes + inner.frontBytes,
    maximumLengthBytes: mostBytes + tarEndBytes(mostBytes),
    async *chunks(options) {
      const saved = options.resumeFrom === undefined ? undefined : splitCheckpoint(options.resumeFrom);
      const digest = parts.newDigest?.();
      if (saved !== undefined) digest?.restore(saved.digest);
      let memberBytes = saved?.memberBytes ?? inner.frontBytes;
      const front: StreamChunk[] = [];
      const { resumeFrom: _, ...rest } = options;
      const run = inner.chunks(saved === undefined ? rest : { ...rest, resumeFrom: saved.inner });
      for await (const { offsetBytes, bytes, checkpoint } of run) {
        if (offsetBytes < inner.frontBytes) {
          front.push({ offsetBytes: headBytes + offsetBytes, bytes });
          continue;
        }
        digest?.update(bytes);
        memberBytes = offsetBytes + bytes.length;
        const point = { offsetBytes: headBytes + offsetBytes, bytes };
        yield checkpoint === undefined
          ? point
          : {
              ...point,
              checkpoint: () => joinCheckpoint(memberBytes, digest?.save() ?? new Uint8Array(), checkpoint()),
            };
      }
      yield* endOf(parts, memberBytes, digest?.digest() ?? new Uint8Array());
      yield* cut(0, parts.head(memberBytes), headBytes);
      yield* front;
    },
  };
}

/** What follows the member: its padding, the members behind it, the end of the archive. */
function* endOf(parts: TarStreamParts, memberBytes: number, digest: Uint8Array): Iterable<StreamChunk> {
  const endBytes = parts.headBytes + memberBytes;
  const out = new ChunkPacker(endBytes);
  out.append(new Uint8Array(roundUp(endBytes, TAR_BLOCK_BYTES) - endBytes));
  out.append(parts.tail?.(memberBytes, digest) ?? new Uint8Array());
  out.append(new Uint8Array(tarEndBytes(out.endBytes)));
  yield* out.takeAll();
}

function* cut(offsetBytes: number, bytes: Uint8Array, lengthBytes: number): Iterable<StreamChunk> {
  invariant(bytes.length === lengthBytes, 'the head is as long as it was planned');
  for (let at = 0; at < bytes.length; at += MIB) {
    yield { offsetBytes: offsetBytes + at, bytes: bytes.subarray(at, at + MIB) };
  }
}

/** The member's bytes so far, the length of the digest's state, that, and the member's own checkpoint. */
function joinCheckpoint(memberBytes: number, digest: Uint8Array, inner: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + digest.length + inner.length);
  viewOf(bytes).setFloat64(0, memberBytes);
  viewOf(bytes).setFloat64(8, digest.length);
  bytes.set(digest, 16);
  bytes.set(inner, 16 + digest.length);
  return bytes;
}

function splitCheckpoint(saved: Uint8Array): {
  memberBytes: number;
  digest: Uint8Array;
  inner: Uint8Array;
} {
  const innerAt = 16 + viewOf(saved).getFloat64(8);
  return {
    memberBytes: viewOf(saved).getFloat64(0),
    digest: saved.subarray(16, innerAt),
    inner: saved.subarray(innerAt),
  };
}
