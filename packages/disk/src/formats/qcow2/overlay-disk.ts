import { KIB, roundDown, roundUp } from '../../bytes/numbers.ts';
import type { Disk, Extent } from '../../disk/disk.ts';
import { parentExtents } from '../../disk/parent-runs.ts';
import type { WritableDisk } from '../../disk/writable-disk.ts';
import type { WritableFile } from '../../io/writable-file.ts';
import type { ClusterState, OverlayTables } from './overlay-tables.ts';

/** Zeros that take up room are written in pieces of at most this. */
const ZEROS_BYTES: number = 1024 * KIB;

/** A run of clusters of one state; data of it is in one piece. */
interface Run extends ClusterState {
  readonly fromBytes: number;
  readonly toBytes: number;
}

/** A disk and the file that keeps its changes. Changes of what is where are made one after another. */
export class OverlayDisk implements WritableDisk {
  readonly format = 'qcow2';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly #base: Disk;
  readonly #file: WritableFile;
  readonly #tables: OverlayTables;
  #last: Promise<unknown> = Promise.resolve();

  constructor(base: Disk, file: WritableFile, tables: OverlayTables) {
    this.virtualSizeBytes = base.virtualSizeBytes;
    this.details = { backing: { format: base.format, details: base.details } };
    this.warnings = base.warnings;
    this.#base = base;
    this.#file = file;
    this.#tables = tables;
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    for await (const run of this.#runs(fromBytes, toBytes)) {
      signal?.throwIfAborted();
      const lengthBytes = run.toBytes - run.fromBytes;
      if (run.kind === 'absent') yield* parentExtents(this.#base, run.fromBytes, run.toBytes, signal);
      else yield { offsetBytes: run.fromBytes, lengthBytes, kind: run.kind };
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    for await (const run of this.#runs(offsetBytes, offsetBytes + into.length)) {
      signal?.throwIfAborted();
      const part = into.subarray(run.fromBytes - offsetBytes, run.toBytes - offsetBytes);
      if (run.kind === 'zero') part.fill(0);
      else if (run.kind === 'absent') await this.#base.read(run.fromBytes, part, signal);
      else await this.#file.read(run.hostBytes, part);
    }
  }

  async write(offsetBytes: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    // Clusters that are there never move: to write into them needs nobody's turn.
    if (await this.#writeInPlace(offsetBytes, bytes)) return;
    await this.#inTurn(() => this.#writeAnywhere(offsetBytes, bytes));
  }

  async writeZeros(
    offsetBytes: number,
    lengthBytes: number,
    options: { readonly allocated?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const { allocated = false, signal } = options;
    const endBytes = offsetBytes + lengthBytes;
    const [from, to] = allocated ? [endBytes, endBytes] : this.#wholeClusters(offsetBytes, endBytes);
    await this.#writeZeroBytes(offsetBytes, Math.min(from, endBytes), signal);
    await this.discard(from, to - from, signal);
    await this.#writeZeroBytes(Math.max(to, offsetBytes), endBytes, signal);
  }

  async discard(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<void> {
    const { clusterBytes } = this.#tables;
    const [from, to] = this.#wholeClusters(offsetBytes, offsetBytes + lengthBytes);
    // What reads as zeros already stays as it is, however much it is.
    let at = from;
    for await (const { kind, offsetBytes, lengthBytes } of this.extents(from, to, signal)) {
      if (kind !== 'data') continue;
      at = Math.max(at, roundDown(offsetBytes, clusterBytes));
      for (; at < offsetBytes + lengthBytes; at += clusterBytes) await this.#hide(at / clusterBytes);
    }
  }

  /** The cluster reads as zeros; where it has a place in the file, it keeps that. */
  async #hide(cluster: number): Promise<void> {
    await this.#inTurn(async () => {
      const { kind, hostBytes } = await this.#tables.state(cluster);
      if (kind !== 'zero') await this.#tables.set(cluster, 'zero', hostBytes);
    });
    await this.#commitWhenFull();
  }

  async flush(): Promise<void> {
    await this.#tables.commit();
  }

  /** Makes durable what was written. The base stays open. */
  async close(): Promise<void> {
    await this.#last.catch(() => {});
    try {
      await this.#tables.commit();
    } finally {
      await this.#file.close();
    }
  }

  /** The clusters that lie in a range entirely; the last one of the disk may be cut by its end. */
  #wholeClusters(fromBytes: number, toBytes: number): readonly [number, number] {
    const { clusterBytes } = this.#tables;
    const from = roundUp(fromBytes, clusterBytes);
    const to = toBytes === this.virtualSizeBytes ? toBytes : roundDown(toBytes, clusterBytes);
    return [from, Math.max(from, to)];
  }

  async #writeZeroBytes(fromBytes: number, toBytes: number, signal: AbortSignal | undefined): Promise<void> {
    const zeros = new Uint8Array(Math.max(0, Math.min(ZEROS_BYTES, toBytes - fromBytes)));
    for (let at = fromBytes; at < toBytes; at += zeros.length) {
      await this.write(at, zeros.subarray(0, Math.min(zeros.length, toBytes - at)), signal);
    }
  }

  async *#runs(fromBytes: number, toBytes: number): AsyncGenerator<Run, void, undefined> {
    const { clusterBytes } = this.#tables;
    let open: Run | undefined;
    for (let at = fromBytes; at < toBytes; ) {
      const cluster = Math.floor(at / clusterBytes);
      const { kind, hostBytes, absentCount } = await this.#tables.state(cluster);
      const end = Math.min(toBytes, (cluster + Math.max(1, absentCount)) * clusterBytes);
      const place = kind === 'data' ? hostBytes + (at - cluster * clusterBytes) : 0;
      const goesOn =
        open?.kind === kind && (kind !== 'data' || open.hostBytes + (at - open.fromBytes) === place);
      if (open !== undefined && goesOn) open = { ...open, toBytes: end };
      else {
        if (open !== undefined) yield open;
        open = { kind, hostBytes: place, fromBytes: at, toBytes: end };
      }
      at = end;
    }
    if (open !== undefined) yield open;
  }

  /** False, and nothing done, when some of it has no place in the file yet. */
  async #writeInPlace(offsetBytes: number, bytes: Uint8Array): Promise<boolean> {
    const runs = await Array.fromAsync(this.#runs(offsetBytes, offsetBytes + bytes.length));
    if (runs.some(({ kind }) => kind !== 'data')) return false;
    for (const { hostBytes, fromBytes, toBytes } of runs) {
      await this.#file.write(hostBytes, bytes.subarray(fromBytes - offsetBytes, toBytes - offsetBytes));
    }
    return true;
  }

  async #writeAnywhere(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const { clusterBytes } = this.#tables;
    for (let done = 0; done < bytes.length; ) {
      const at = offsetBytes + done;
      const cluster = Math.floor(at / clusterBytes);
      const { kind, hostBytes } = await this.#tables.state(cluster);
      const within = at - cluster * clusterBytes;
      const wholeCount =
        within === 0 && kind === 'absent' ? await this.#absentFrom(cluster, bytes.length - done) : 0;
      const part = bytes.subarray(
        done,
        done + (wholeCount > 0 ? wholeCount * clusterBytes : clusterBytes - within),
      );
      if (wholeCount > 0) await this.#writeNew(cluster, wholeCount, part);
      else if (kind === 'data') await this.#file.write(hostBytes + within, part);
      else await this.#writePart(cluster, kind, hostBytes, within, part);
      done += part.length;
    }
    await this.#commitWhenFull();
  }

  /** How many whole clusters of so many bytes are absent. */
  async #absentFrom(cluster: number, lengthBytes: number): Promise<number> {
    const most = Math.floor(lengthBytes / this.#tables.clusterBytes);
    let count = 0;
    while (count < most) {
      const { absentCount } = await this.#tables.state(cluster + count);
      if (absentCount === 0) break;
      count += absentCount;
    }
    return Math.min(count, most);
  }

  async #writeNew(cluster: number, count: number, bytes: Uint8Array): Promise<void> {
    const hostBytes = await this.#tables.allocate(count);
    await this.#file.write(hostBytes, bytes);
    for (let i = 0; i < count; i++) {
      await this.#tables.set(cluster + i, 'data', hostBytes + i * this.#tables.clusterBytes);
    }
  }

  /** A part of a cluster that is not there yet: the rest of it is as it was before. */
  async #writePart(
    cluster: number,
    kind: 'zero' | 'absent' | 'data',
    oldHostBytes: number,
    within: number,
    part: Uint8Array,
  ): Promise<void> {
    const { clusterBytes } = this.#tables;
    const startBytes = cluster * clusterBytes;
    const whole = new Uint8Array(clusterBytes);
    if (kind === 'absent') {
      const lengthBytes = Math.min(clusterBytes, this.virtualSizeBytes - startBytes);
      await this.#base.read(startBytes, whole.subarray(0, lengthBytes));
    }
    whole.set(part, within);
    const hostBytes = oldHostBytes > 0 ? oldHostBytes : await this.#tables.allocate(1);
    await this.#file.write(hostBytes, whole);
    await this.#tables.set(cluster, 'data', hostBytes);
  }

  async #commitWhenFull(): Promise<void> {
    if (this.#tables.isFull) await this.#tables.commit();
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work, work);
    this.#last = turn;
    return turn;
  }
}
