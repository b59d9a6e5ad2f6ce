import { createHash } from 'node:crypto';
import { type ByteSource, mapOrdered } from '@gantry/disk';
import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { JobContext } from '../jobs/handler.ts';
import type { JsonValue } from '../json.ts';
import { type CopyInput, requirePeer } from './copies.ts';
import { DomainError } from './errors.ts';
import { readRange } from './export-pieces.ts';
import type { HashedPart, IncomingCopy } from './incoming-copies.ts';
import { LARGEST_PART_NUMBER } from './object-limits.ts';
import type { Objects } from './objects.ts';
import { PeerCopies, type PeerCopiesOptions, type RealmSend } from './peer-copies.ts';
import type { Region } from './region.ts';
import type { StoredObject } from './stored-object.ts';

/** `userName`: who it is made for there, also when the user is gone here. */
const copyCheckpoint = z.object({
  uploadId: z.string(),
  role: z.enum(['administrator', 'member']).default('member'),
  userName: z.string().optional(),
});

export interface RegionCopyParts {
  readonly region: Region;
  readonly objects: Objects;
  readonly send: RealmSend;
  readonly userNameOf: (userId: string) => Promise<string>;
}

/** What a kill costs at most, for each part that is under way. */
const PART_BYTES: number = 64 * 1024 * 1024;
const MIB: number = 1024 * 1024;
const PARTS_AT_ONCE = 2;

interface Part {
  readonly partNumber: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * Sends an object to another region's service on the user's behalf, in parts. Another attempt asks which parts are
 * there, hashes its own bytes and sends only what differs. At the end the other side compares the hashes of what it
 * read back with ours, and only then shows the object.
 */
export async function copyToRegion(
  parts: RegionCopyParts,
  context: JobContext,
  input: CopyInput,
  principal: Principal,
  object: StoredObject,
): Promise<JsonValue> {
  const { target } = input;
  const userName = await parts.userNameOf(principal.userId);
  const who = { userName, role: principal.role };
  const peer = peerOf(parts, context, input, who);
  await context.phase('open');
  const opened = await parts.objects.open({ principal, ...input.source });
  const { source } = opened;
  try {
    requireSame(opened.object, object);
    const copy = incomingOf(parts.region.name, context, input, object, source);
    await sendCopy(context, peer, who, copy, source);
    const { region, bucket, key } = target;
    return { region, bucket, key, lengthBytes: copy.lengthBytes, etag: copy.etag };
  } finally {
    await source.close();
  }
}

/** On whose behalf the other region is asked. */
type Asker = Pick<PeerCopiesOptions, 'userName' | 'role'>;

function peerOf(
  parts: RegionCopyParts,
  { signal }: JobContext,
  { target }: CopyInput,
  who: Asker,
): PeerCopies {
  const { region, namespace, bucket } = target;
  const { send } = parts;
  return new PeerCopies({
    ...requirePeer(parts.region, region),
    send,
    region,
    namespace,
    ...who,
    bucket,
    signal,
  });
}

/** Lets go of the parts that an attempt has left in the other region, when that answers. */
export async function leaveRegion(
  parts: RegionCopyParts,
  context: JobContext,
  input: CopyInput,
): Promise<void> {
  const saved = copyCheckpoint.safeParse(context.checkpoint);
  if (!saved.success || saved.data.userName === undefined) return;
  const { uploadId, userName, role } = saved.data;
  try {
    await peerOf(parts, context, input, { userName, role }).abort(uploadId);
  } catch (error) {
    if (error instanceof DomainError && error.code === 'NOT_FOUND') return;
    context.log('warning', 'the parts that were sent could not be removed in the other region');
  }
}

/** Replaced between the look at its row and its opening. Throws PRECONDITION_FAILED. */
function requireSame(opened: StoredObject, object: StoredObject): void {
  // The ETag of a view is that of its bytes as they are now.
  const isSame =
    object.view === undefined
      ? opened.etag === object.etag
      : opened.view?.manifestId === object.view.manifestId;
  if (isSame) return;
  throw new DomainError('PRECONDITION_FAILED', `${object.key} was replaced since the copy was asked for`, {
    hint: 'copy it again',
    subject: 'if-match',
  });
}

function incomingOf(
  region: string,
  context: JobContext,
  { target }: CopyInput,
  object: StoredObject,
  source: ByteSource,
): IncomingCopy {
  const { lengthBytes } = source;
  // The same in each attempt: an object that has it is this copy.
  const hash = createHash('sha256').update(`${region} ${context.job.id}`).digest('hex').slice(0, 32);
  return {
    key: target.key,
    lengthBytes,
    contentType: object.contentType,
    attributes: object.attributes,
    etag: `${hash}-${partsOf(lengthBytes).length}`,
    condition: { ifMatch: target.ifMatch, ifNoneMatch: target.ifNoneMatch },
  };
}

async function sendCopy(
  context: JobContext,
  peer: PeerCopies,
  who: Asker,
  copy: IncomingCopy,
  source: ByteSource,
): Promise<void> {
  const { signal } = context;
  const before = context.checkpoint === undefined ? undefined : copyCheckpoint.parse(context.checkpoint);
  const known = before === undefined ? undefined : await partsThere(peer, before.uploadId);
  const uploadId = known === undefined ? await peer.begin(copy) : before?.uploadId;
  if (uploadId === undefined) return context.log('info', 'the other region has it already');
  await context.saveCheckpoint({ uploadId, ...who });
  await context.phase('send', copy.lengthBytes);
  let doneBytes = 0;
  const send = async (part: Part): Promise<HashedPart> => {
    const sent =
      (await sameThere(source, part, known?.get(part.partNumber), signal)) ??
      (await peer.putPart(uploadId, part, hashing(readRange(source, part.offsetBytes, endOf(part), signal))));
    doneBytes += part.lengthBytes;
    context.progress(doneBytes);
    return sent;
  };
  const sent = await Array.fromAsync(mapOrdered(partsOf(copy.lengthBytes), PARTS_AT_ONCE, send));
  await context.phase('verify');
  await peer.complete(uploadId, { parts: sent, condition: copy.condition });
}

/** Undefined when the upload is over: it was completed, and the answer lost, or aborted. */
async function partsThere(peer: PeerCopies, uploadId: string): Promise<Map<number, HashedPart> | undefined> {
  try {
    const parts = await peer.parts(uploadId);
    return new Map(parts.map((part) => [part.partNumber, part]));
  } catch (error) {
    if (error instanceof DomainError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** The part with our own hash, when the other side has these very bytes. */
async function sameThere(
  source: ByteSource,
  part: Part,
  there: HashedPart | undefined,
  signal: AbortSignal,
): Promise<HashedPart | undefined> {
  if (there?.lengthBytes !== part.lengthBytes) return undefined;
  const own = hashing(readRange(source, part.offsetBytes, endOf(part), signal));
  for await (const _ of own.chunks);
  const sha256 = own.sha256();
  return there.sha256 === sha256 ? { ...there, sha256 } : undefined;
}

/** Bytes that are hashed while they pass. */
export interface HashedBytes {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** In base64, once they have passed. */
  sha256(): string;
}

function hashing(chunks: AsyncIterable<Uint8Array>): HashedBytes {
  const hash = createHash('sha256');
  const passing = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of chunks) {
      hash.update(chunk);
      yield chunk;
    }
  };
  return { chunks: passing(), sha256: () => hash.digest('base64') };
}

function endOf({ offsetBytes, lengthBytes }: Part): number {
  return offsetBytes + lengthBytes;
}

/** They follow from the length alone, so that another attempt has the same. */
function partsOf(lengthBytes: number): readonly Part[] {
  const wholeMibs = Math.ceil(lengthBytes / LARGEST_PART_NUMBER / MIB) * MIB;
  const partBytes = Math.max(PART_BYTES, wholeMibs);
  return Array.from({ length: Math.max(1, Math.ceil(lengthBytes / partBytes)) }, (_, index) => ({
    partNumber: index + 1,
    offsetBytes: index * partBytes,
    lengthBytes: Math.min(partBytes, lengthBytes - index * partBytes),
  }));
}
