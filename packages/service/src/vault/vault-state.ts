import type { Database } from '../db/database.ts';
import type { Codec } from './codec.ts';
import type { LiveSet } from './live-set.ts';
import type { RecordCache } from './record-cache.ts';
import type { Segments } from './segments.ts';
import type { SharedLock } from './shared-lock.ts';
import type { VaultWriter } from './writer.ts';

/** What the parts of one open vault share. */
export interface VaultState {
  readonly database: Database;
  readonly segments: Segments;
  readonly codec: Codec;
  readonly records: RecordCache;
  /**
   * Shared: from the look whether blocks are known until the writer holds their hashes, and while a writer
   * commits. Exclusive: while a collection begins, and while it deletes rows. Never held for long.
   */
  readonly lock: SharedLock;
  readonly writers: Set<VaultWriter>;
  /** Manifests that are open for reading, and how often: a collection keeps them. */
  readonly readers: Map<string, number>;
  /** While a collection runs: the blocks that it must keep. Writers add what they use. */
  live: LiveSet | undefined;
  /** Grows when blocks moved: places that were looked up before may be wrong. */
  moves: number;
}
