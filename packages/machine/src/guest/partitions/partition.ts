/** A run of the disk that its partition table names. */
export interface Partition {
  /** As Linux counts: logical partitions of an MBR from 5. */
  readonly number: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** `0x83`, or the type's GUID in lower case. */
  readonly type: string;
  /** What the type stands for, where it is known. */
  readonly typeName?: string;
  /** GPT: the name of the entry. */
  readonly name?: string;
  /** What Linux calls PARTUUID. */
  readonly uuid?: string;
  /** Active in an MBR, "legacy BIOS bootable" in a GPT. */
  readonly isActive?: boolean;
}

export interface PartitionTable {
  /** `none`: no table; the whole disk may hold a file system. */
  readonly kind: 'gpt' | 'mbr' | 'none';
  /** The disk's GUID, or the signature of the MBR as `0x` and 8 digits. */
  readonly id?: string;
  readonly sectorBytes: number;
  readonly partitions: readonly Partition[];
  /** An MBR beside the GPT that names more than the protective partition. */
  readonly isHybrid?: boolean;
}
