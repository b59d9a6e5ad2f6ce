import type { ByteSource } from '@gantry/disk';
import type { RecognisedFileSystem } from '../files/file-system.ts';

/** A run of bytes that a file system may fill: a partition, a logical volume, the whole disk. */
export interface Volume {
  /** For people: `partition 2`, `logical volume vg/root`, `the whole disk`. */
  readonly where: string;
  readonly bytes: ByteSource;
  readonly partitionNumber?: number;
  readonly partitionUuid?: string;
  readonly partitionName?: string;
  /** `vg/root`. */
  readonly logicalName?: string;
}

/** A volume and what it holds. */
export interface FilledVolume extends Volume {
  readonly content: RecognisedFileSystem;
}
