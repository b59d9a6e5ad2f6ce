import { createHash } from 'node:crypto';
import {
  AllocationMap,
  type ByteSource,
  DIGEST_PREFIX,
  type Disk,
  formatNamed,
  type ImageStream,
  type Layout,
  planImage,
  qcow2StoredLayout,
  type StoredUnits,
  viewOfLayout,
} from '@gantry/disk';
import { PIECE_BYTES } from '../vault/block-record.ts';
import type { Vault } from '../vault/vault.ts';
import type { VaultDisk } from '../vault/vault-disk.ts';
import { DomainError } from './errors.ts';
import { canonicalViewSpec, type ViewSpec } from './view-spec.ts';

/** Raised when a layout of the engine comes to give other bytes for the same disk and options. */
const LAYOUT_VERSION = 1;
/** Plans that are kept: a client that reads a file range by range asks for the same one again and again. */
const KEPT_PLANS = 16;

/** An image in a format, of exact length, any range of it. */
export interface ImageView {
  readonly source: ByteSource;
  /** Strong: the same for the same bytes, on every machine with this layout version. Without quotes. */
  readonly etag: string;
}

/** A plan for an image in a format, with the disk that it reads. */
export interface ImagePlan {
  readonly plan: Layout | ImageStream;
  readonly disk: Disk;
  readonly etag: string;
}

interface KeptPlan {
  readonly planned: Promise<ImagePlan>;
  /** Who reads now; the disk is closed when the plan was dropped and nobody does. */
  readers: number;
  dropped: boolean;
}

/** Shows the vault's images in formats, and remembers the plans that were asked for last. */
export class ImageViews {
  readonly #vault: Vault;
  readonly #kept: Map<string, KeptPlan> = new Map();

  constructor(vault: Vault) {
    this.#vault = vault;
  }

  /**
   * The image of a sealed manifest as a file. Close the source when done. Throws NOT_A_VIEW for a compressed
   * form whose length is not known beforehand, ImageError for options or disks that the format refuses.
   */
  async open(manifestId: string, spec: ViewSpec): Promise<ImageView> {
    const kept = this.#keep(manifestId, spec);
    kept.readers++;
    try {
      const { plan, disk, etag } = await kept.planned;
      if (plan.kind === 'stream') throw notAView(spec);
      const source = viewOfLayout(plan, disk, `${manifestId} as ${spec.format}`);
      let open = true;
      const close = async () => {
        if (!open) return;
        open = false;
        await this.#release(kept);
      };
      return { source: { ...source, close }, etag };
    } catch (error) {
      await this.#release(kept);
      throw error;
    }
  }

  /** Runs `use` with the plan, layout or stream, of an image in a format. */
  async withPlan<Result>(
    manifestId: string,
    spec: ViewSpec,
    use: (planned: ImagePlan) => Promise<Result>,
  ): Promise<Result> {
    const kept = this.#keep(manifestId, spec);
    kept.readers++;
    try {
      return await use(await kept.planned);
    } finally {
      await this.#release(kept);
    }
  }

  /**
   * Forgets all plans: closes every disk that nobody reads, and the others when their readers are done. A disk
   * that is open keeps its image's blocks.
   */
  async forget(): Promise<void> {
    for (const key of [...this.#kept.keys()]) await this.#drop(key);
  }

  #keep(manifestId: string, spec: ViewSpec): KeptPlan {
    const key = `${manifestId} ${canonicalViewSpec(spec)}`;
    const known = this.#kept.get(key);
    const kept = known ?? { planned: this.#plan(manifestId, spec), readers: 0, dropped: false };
    // Last asked for stands last; a plan that failed is not kept.
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    if (known === undefined) {
      kept.planned.catch(() => {
        // It may have been dropped meanwhile, and another stand in its place.
        if (this.#kept.get(key) === kept) this.#kept.delete(key);
      });
      const oldest = this.#kept.keys().next().value;
      if (this.#kept.size > KEPT_PLANS && oldest !== undefined) void this.#drop(oldest);
    }
    return kept;
  }

  async #drop(key: string): Promise<void> {
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    if (kept === undefined) return;
    kept.dropped = true;
    if (kept.readers === 0) await closeDisk(kept);
  }

  async #release(kept: KeptPlan): Promise<void> {
    kept.readers--;
    if (kept.dropped && kept.readers === 0) await closeDisk(kept);
  }

  async #plan(manifestId: string, spec: ViewSpec): Promise<ImagePlan> {
    const disk = await this.#vault.openManifest(manifestId);
    try {
      const { diskDigest, virtualSizeBytes } = disk;
      if (diskDigest === null) throw new DomainError('CONFLICT', `manifest ${manifestId} is not complete`);
      const showsStored = showsStoredPieces(spec);
      const plan = showsStored
        ? qcow2StoredLayout(await storedClusters(disk), { version: 3, compression: 'zstd' })
        : await planImage(disk, {
            ...spec,
            seed: Uint8Array.fromHex(diskDigest.slice(DIGEST_PREFIX.length)),
          });
      // How a block was compressed is the vault's: another image of the same disk may have other frames.
      const frames = showsStored ? [manifestId] : [];
      const identity = [LAYOUT_VERSION, diskDigest, virtualSizeBytes, canonicalViewSpec(spec), ...frames];
      const etag = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32);
      return { plan, disk, etag };
    } catch (error) {
      await disk.close();
      throw error;
    }
  }
}

async function closeDisk(kept: KeptPlan): Promise<void> {
  const planned = await kept.planned.catch(() => undefined);
  await planned?.disk.close();
}

async function storedClusters(disk: VaultDisk): Promise<StoredUnits> {
  const { pieceBytes, storedLength, source } = await disk.storedPieces();
  return {
    virtualSizeBytes: disk.virtualSizeBytes,
    map: await AllocationMap.ofDisk(disk, pieceBytes),
    lengthOf: storedLength,
    isPlain: (piece) => storedLength(piece) === pieceBytes,
    pieces: (piece) => [
      { kind: 'stored', source, offsetBytes: piece * pieceBytes, lengthBytes: storedLength(piece) },
    ],
  };
}

/** The vault's pieces are zstd frames of 64 KiB: qcow2's default cluster, compressed already. */
function showsStoredPieces(spec: ViewSpec): boolean {
  if (spec.format !== 'qcow2' || spec.compression !== 'zstd') return false;
  const { cluster_size: clusterSize = `${PIECE_BYTES}`, compat = '1.1', ...others } = spec.options;
  return clusterSize === `${PIECE_BYTES}` && compat === '1.1' && Object.keys(others).length === 0;
}

function notAView(spec: ViewSpec): DomainError {
  const form = `${formatNamed(spec.format).title}${spec.compression === undefined ? '' : ` (${spec.compression})`}`;
  return new DomainError('NOT_A_VIEW', `${form} in this form has no length before it is written`, {
    hint: 'export it to a bucket, or take qcow2 with zstd, which has one',
  });
}
