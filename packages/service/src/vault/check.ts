import { stat } from 'node:fs/promises';
import { type CheckSeverity, DigestTree, StoreError, storeError } from '@gantry/disk';
import type { VaultBlockRow } from '../db/schema.ts';
import { blocksOfSegment, findBlocks, hashKey, listingFault } from './block-index.ts';
import { recordLength } from './block-record.ts';
import { runsOf, unpackRun } from './block-run.ts';
import { isDamage } from './errors.ts';
import { CHUNK_BLOCKS } from './manifest-chunk.ts';
import { readableChunks } from './manifests.ts';
import { SEGMENT_HEADER_BYTES } from './segment-file.ts';
import type { Segment } from './segments.ts';
import type { VaultState } from './vault-state.ts';

/** `corruption`: an image is damaged. `leak`: space is lost. `warning`: harmless. */
export interface VaultFinding {
  readonly severity: CheckSeverity;
  /** What is wrong, in a sentence. */
  readonly what: string;
  /** The segment, the manifest, the image or the object. */
  readonly where: string;
}

export interface VaultCheckProgress {
  readonly phase: 'segments' | 'manifests';
  /** Bytes of segments, or manifests. */
  readonly done: number;
  readonly total: number;
}

export interface VaultCheckOptions {
  /** Read every record, and verify CRC-32, decompression and SHA-256. */
  readonly data: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: VaultCheckProgress) => void) | undefined;
}

export interface VaultCheckReport {
  /** At most 1000; the counts are of all. */
  readonly findings: readonly VaultFinding[];
  readonly corruptionCount: number;
  readonly leakCount: number;
  readonly warningCount: number;
  readonly segmentCount: number;
  readonly blockCount: number;
  readonly manifestCount: number;
}

const FINDINGS_LIMIT = 1000;
/** Blocks that are read and verified at a time. */
const VERIFY_BLOCKS = 64;

export async function checkVault(state: VaultState, options: VaultCheckOptions): Promise<VaultCheckReport> {
  const check = new VaultCheck(state, options);
  await check.segments();
  await check.manifests();
  await check.references();
  return check.report();
}

class VaultCheck {
  readonly #state: VaultState;
  readonly #options: VaultCheckOptions;
  readonly #findings: VaultFinding[] = [];
  readonly #counts: Record<CheckSeverity, number> = { corruption: 0, leak: 0, warning: 0 };
  #segmentCount = 0;
  #blockCount = 0;
  #manifestCount = 0;

  constructor(state: VaultState, options: VaultCheckOptions) {
    this.#state = state;
    this.#options = options;
  }

  report(): VaultCheckReport {
    return {
      findings: this.#findings,
      corruptionCount: this.#counts.corruption,
      leakCount: this.#counts.leak,
      warningCount: this.#counts.warning,
      segmentCount: this.#segmentCount,
      blockCount: this.#blockCount,
      manifestCount: this.#manifestCount,
    };
  }

  async segments(): Promise<void> {
    const { segments } = this.#state;
    const list = segments.list();
    const total = list.reduce((sum, segment) => sum + segment.committedBytes, 0);
    let done = 0;
    for (const segment of list) {
      this.#options.signal?.throwIfAborted();
      this.#options.onProgress?.({ phase: 'segments', done, total });
      // What is committed from now on is for the next check.
      const { committedBytes, liveBytes } = segment;
      if (await this.#hasFile(segment, committedBytes)) {
        const found = await this.#rowsOf(segment, committedBytes);
        if (found !== liveBytes) {
          const what = `its row counts ${liveBytes} bytes in use, its blocks have ${found}`;
          this.#add('leak', what, `segment ${segment.id}`);
        }
      }
      done += committedBytes;
      this.#segmentCount++;
    }
    for (const name of await segments.strangers()) {
      this.#add('leak', `no row knows the segment file ${name}; gc removes it`, name);
    }
  }

  async manifests(): Promise<void> {
    const { kysely } = this.#state.database;
    const manifests = await kysely.selectFrom('manifests').select(['id', 'disk_digest']).execute();
    for (const manifest of manifests) {
      this.#options.onProgress?.({
        phase: 'manifests',
        done: this.#manifestCount,
        total: manifests.length,
      });
      this.#manifestCount++;
      try {
        await this.#manifest(manifest.id, manifest.disk_digest);
      } catch (error) {
        // An import that was given up meanwhile took its manifest along.
        if (error instanceof StoreError && error.code === 'STORE_NOT_FOUND') continue;
        if (!isDamage(error)) throw error;
        this.#add('corruption', error.message, error.where);
      }
    }
  }

  /** Images, volumes and objects show only what is complete. */
  async references(): Promise<void> {
    const { kysely } = this.#state.database;
    for (const table of ['images', 'volumes'] as const) {
      const rows = await kysely
        .selectFrom(table)
        .innerJoin('manifests', 'manifests.id', `${table}.manifest_id`)
        .select([`${table}.id`, 'manifests.id as manifest_id'])
        .where('manifests.state', '!=', 'sealed')
        .execute();
      for (const { id, manifest_id } of rows) {
        const where = `${table.slice(0, -1)} ${id}`;
        this.#add('corruption', `it shows manifest ${manifest_id}, which is not complete`, where);
      }
    }
    const objects = await kysely
      .selectFrom('objects')
      .innerJoin('manifests', 'manifests.id', 'objects.manifest_id')
      .select(['objects.bucket_id', 'objects.object_key', 'manifests.id as manifest_id'])
      .where('manifests.state', '!=', 'sealed')
      .execute();
    for (const { bucket_id, object_key, manifest_id } of objects) {
      const where = `object ${object_key} of bucket ${bucket_id}`;
      this.#add('corruption', `it shows manifest ${manifest_id}, which is not complete`, where);
    }
  }

  /** False when there is nothing to compare rows with. */
  async #hasFile(segment: Segment, committedBytes: number): Promise<boolean> {
    const path = this.#state.segments.path(segment);
    try {
      const { size } = await stat(path);
      if (size < committedBytes) {
        const what = `the file has ${size} bytes, ${committedBytes} were written`;
        this.#add('corruption', what, `segment ${segment.id}`);
      }
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw storeError(error, path);
      this.#add('corruption', 'the file is missing', `segment ${segment.id}`);
      return false;
    }
  }

  /** Returns the bytes of the records that rows know. */
  async #rowsOf(segment: Segment, committedBytes: number): Promise<number> {
    const where = `segment ${segment.id}`;
    let end = SEGMENT_HEADER_BYTES;
    let recordBytes = 0;
    let verify: VaultBlockRow[] = [];
    for await (const row of blocksOfSegment(this.#state.database.kysely, segment.number)) {
      if (row.offset_bytes >= committedBytes) break;
      this.#options.signal?.throwIfAborted();
      this.#blockCount++;
      recordBytes += row.length_bytes;
      const name = `block ${hashKey(row.block_hash)} at byte ${row.offset_bytes}`;
      if (row.offset_bytes < end) this.#add('corruption', `${name} overlaps what stands before it`, where);
      end = row.offset_bytes + row.length_bytes;
      if (end > committedBytes) this.#add('corruption', `${name} ends beyond the committed bytes`, where);
      if (row.length_bytes !== recordLength(row.pieces)) {
        this.#add('corruption', `${name} has another length than its pieces together`, where);
      } else if (this.#options.data) {
        verify.push(row);
      }
      if (verify.length < VERIFY_BLOCKS) continue;
      await this.#verify(verify);
      verify = [];
    }
    await this.#verify(verify);
    return recordBytes;
  }

  async #verify(rows: readonly VaultBlockRow[]): Promise<void> {
    await Promise.all(runsOf(rows.map((row) => ({ row }))).map((run) => this.#verifyRun(run)));
  }

  async #verifyRun(run: readonly { readonly row: VaultBlockRow }[]): Promise<void> {
    try {
      await unpackRun(this.#state, run, () => {}, this.#options.signal);
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (run.length === 1) this.#add('corruption', error.message, error.where);
      else for (const block of run) await this.#verifyRun([block]);
    }
  }

  async #manifest(id: string, diskDigest: string | null): Promise<void> {
    const { kysely } = this.#state.database;
    const tree = new DigestTree();
    for await (const chunk of readableChunks(kysely, id)) {
      this.#options.signal?.throwIfAborted();
      const blocks = [...chunk.blocks()];
      const known = await findBlocks(
        kysely,
        blocks.map((block) => chunk.hash(block)),
      );
      for (const block of blocks) {
        const hash = chunk.hash(block);
        tree.add(chunk.index * CHUNK_BLOCKS + block, hash);
        const fault = listingFault(known.get(hashKey(hash)), chunk.codes(block));
        if (fault !== undefined) this.#add('corruption', `block ${hashKey(hash)} ${fault}`, `manifest ${id}`);
      }
    }
    const digest = tree.finish();
    if (diskDigest !== null && digest !== diskDigest) {
      this.#add('corruption', `it lists a disk of digest ${digest}, not ${diskDigest}`, `manifest ${id}`);
    }
  }

  #add(severity: CheckSeverity, what: string, where: string): void {
    this.#counts[severity]++;
    if (this.#findings.length < FINDINGS_LIMIT) this.#findings.push({ severity, what, where });
  }
}
