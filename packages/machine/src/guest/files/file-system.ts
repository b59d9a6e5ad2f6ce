import type { ByteSource } from '@gantry/disk';

/** A name in a directory. `place` is the file system's own: what it needs to find the file. */
export interface DirectoryEntry {
  readonly name: string;
  readonly place: Place;
}

/** An inode number, a first cluster with its size: as the file system keeps it. Compared with `placeKey`. */
export type Place = string;

export type NodeKind = 'file' | 'directory' | 'symlink' | 'other';

export interface GuestNode {
  readonly place: Place;
  readonly kind: NodeKind;
  readonly sizeBytes: number;
}

/**
 * A file system that is read and never written. All methods throw ImageError for what its bytes do not allow:
 * IMAGE_UNSUPPORTED for files that are stored in a way that is not read (compressed, encrypted).
 */
export interface FileSystem {
  readonly root: Place;
  /** As found by comparing names: FAT and NTFS take either case. */
  readonly ignoresCase: boolean;
  node(place: Place): Promise<GuestNode>;
  /** All names of a directory but `.` and `..`. */
  list(directory: GuestNode): Promise<readonly DirectoryEntry[]>;
  /** The first `limitBytes` of a file, or all of it when it is shorter. */
  open(file: GuestNode, limitBytes: number): Promise<ByteSource>;
  readLink?(link: GuestNode): Promise<string>;
  /**
   * Where the bytes of a file stand in the volume, in the order of the file; what no run covers is not stored. Throws
   * IMAGE_UNSUPPORTED for a file whose bytes do not stand there as they are: small, compressed, encrypted, sparse.
   */
  runs?(file: GuestNode): Promise<readonly FileRun[]>;
}

/** A part of a file, and its place in the volume. */
export interface FileRun {
  readonly fileBytes: number;
  readonly volumeBytes: number;
  readonly lengthBytes: number;
}

/** What a volume holds. Absent `open`: recognised by its name only. */
export interface RecognisedFileSystem {
  /** `ext4`, `ntfs`, `luks`. */
  readonly kind: string;
  readonly label?: string;
  /** As `blkid` and fstab write it. */
  readonly uuid?: string;
  readonly isEncrypted?: boolean;
  open?(): Promise<FileSystem>;
}
