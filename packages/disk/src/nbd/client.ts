import { roundDown, roundUp } from '../bytes/numbers.ts';
import { delegatedDisk } from '../disk/delegated-disk.ts';
import type { Disk, Extent, ExtentKind } from '../disk/disk.ts';
import { invariant } from '../errors.ts';
import type { ByteRange, ByteSource } from '../io/byte-source.ts';
import { connectSocket } from '../io/node-socket.ts';
import { parseNbdAddress } from './address.ts';
import { chooseExport, type RemoteExport } from './handshake.ts';
import { STATUS_BYTES_MAX } from './limits.ts';
import { EXPORT_FLAG, hasFlag, STATE } from './protocol.ts';
import { Requests } from './requests.ts';

export interface NbdClientOptions {
  /** Ends the opening. Reads have signals of their own. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds without a byte after which a server that owes an answer counts as gone. Default 60,000. */
  readonly idleTimeoutMs?: number | undefined;
}

/** Reads are asked for in pieces of at most this, which servers work on at the same time. */
const PIECE_BYTES: number = 1024 * 1024;

/** The bytes of an export, and the disk that they are. */
export interface NbdSource extends ByteSource {
  /** With extents by block status. It is gone when the source is closed. */
  readonly disk: Disk;
}

/**
 * An export of an NBD server as a disk: `nbd://HOST:PORT/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`. Its bytes are
 * taken as the disk, never as the file of some format. Its extents are those of base:allocation, or all data where the
 * server has none. Throws StoreError; a broken connection is not made again.
 */
export async function openNbd(address: string, options: NbdClientOptions = {}): Promise<Disk> {
  const source = await nbdSource(address, options);
  return delegatedDisk(source.disk, { close: () => source.close() });
}

/** As `openNbd`, with the bytes as a source too, to be read as the file of a format that the caller names. */
export async function nbdSource(address: string, options: NbdClientOptions = {}): Promise<NbdSource> {
  const client = await NbdClient.connect(address, options);
  const read = client.read.bind(client);
  return {
    name: address,
    lengthBytes: client.remote.sizeBytes,
    read,
    async *allocatedRanges(from, to, signal): AsyncGenerator<ByteRange> {
      for await (const { kind, offsetBytes, lengthBytes } of client.extents(from, to, signal)) {
        if (kind === 'data') yield { offsetBytes, lengthBytes };
      }
    },
    disk: {
      format: 'nbd',
      virtualSizeBytes: client.remote.sizeBytes,
      details: detailsOf(client.remote),
      warnings: [],
      extents: (from, to, signal) => client.extents(from, to, signal),
      read,
      async close() {},
    },
    close: () => client.close(),
  };
}

function detailsOf(remote: RemoteExport): Disk['details'] {
  return {
    description: remote.description ?? null,
    readOnly: hasFlag(remote.flags, EXPORT_FLAG.readOnly),
    structuredReplies: remote.hasStructuredReplies,
    blockStatus: remote.allocationId !== undefined,
    minimumBlockSizeBytes: remote.minimumBlockBytes,
  };
}

class NbdClient {
  readonly remote: RemoteExport;
  readonly #requests: Requests;

  private constructor(remote: RemoteExport, requests: Requests) {
    this.remote = remote;
    this.#requests = requests;
  }

  static async connect(address: string, options: NbdClientOptions): Promise<NbdClient> {
    const { signal, idleTimeoutMs = 60_000 } = options;
    const { socket, exportName } = parseNbdAddress(address);
    const channel = await connectSocket(socket, idleTimeoutMs, signal);
    const onAbort = () => channel.destroy();
    signal?.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(onAbort, idleTimeoutMs);
    try {
      const remote = await chooseExport(channel, exportName);
      signal?.throwIfAborted();
      return new NbdClient(remote, new Requests(channel, remote, idleTimeoutMs));
    } catch (error) {
      channel.destroy();
      signal?.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const endBytes = offsetBytes + into.length;
    invariant(endBytes <= this.remote.sizeBytes, 'a read lies inside the export');
    const { minimumBlockBytes, payloadBytesMax } = this.remote;
    const start = roundDown(offsetBytes, minimumBlockBytes);
    const end = roundUp(endBytes, minimumBlockBytes);
    if (start !== offsetBytes || end !== endBytes) {
      const whole = new Uint8Array(end - start);
      await this.read(start, whole, signal);
      into.set(whole.subarray(offsetBytes - start, endBytes - start));
      return;
    }
    const pieceBytes = roundDown(Math.min(PIECE_BYTES, payloadBytesMax), minimumBlockBytes);
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < into.length; at += pieceBytes) {
      const piece = into.subarray(at, Math.min(at + pieceBytes, into.length));
      pieces.push(this.#requests.read(offsetBytes + at, piece, signal));
    }
    // All, so that nothing is written into the caller's memory after a failure.
    const failed = (await Promise.allSettled(pieces)).find((piece) => piece.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    const { minimumBlockBytes, allocationId } = this.remote;
    for (let at = fromBytes; at < toBytes; ) {
      signal?.throwIfAborted();
      const start = roundDown(at, minimumBlockBytes);
      const askedBytes = Math.min(roundUp(toBytes, minimumBlockBytes) - start, STATUS_BYTES_MAX);
      const descriptors =
        allocationId === undefined
          ? undefined
          : await this.#requests.blockStatus(start, askedBytes, allocationId, signal);
      if (descriptors === undefined) {
        // Not known, so all of it counts as data.
        const end = allocationId === undefined ? toBytes : Math.min(toBytes, start + askedBytes);
        yield { offsetBytes: at, lengthBytes: end - at, kind: 'data' };
        at = end;
        continue;
      }
      let descriptorFrom = start;
      for (const { lengthBytes, state } of descriptors) {
        descriptorFrom += lengthBytes;
        const end = Math.min(toBytes, descriptorFrom);
        if (end <= at) continue;
        yield { offsetBytes: at, lengthBytes: end - at, kind: kindOf(state) };
        at = end;
      }
    }
  }

  async close(): Promise<void> {
    await this.#requests.close();
  }
}

/** A hole whose bytes are not said to be zero has to be read to know. */
function kindOf(state: number): ExtentKind {
  if (!hasFlag(state, STATE.zero)) return 'data';
  return hasFlag(state, STATE.hole) ? 'hole' : 'zero';
}
