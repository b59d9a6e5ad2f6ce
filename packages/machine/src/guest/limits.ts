const KIB = 1024;
const MIB: number = 1024 * KIB;

/** What an inspection may cost. What goes beyond is told as a finding, with what was found until then. */
export interface GuestLimits {
  /** Bytes read from the disk: two or three initramfs, kernels and tables of an installed system are some 500 MiB. */
  readonly readBytes: number;
  /** Structures looked at: directory entries, extents, inodes. Windows' System32 and its hives are some 50,000. */
  readonly steps: number;
  /** Wall-clock time in milliseconds. */
  readonly timeMs: number;
}

export const usualLimits: GuestLimits = { readBytes: 1024 * MIB, steps: 4_000_000, timeMs: 120_000 };

/** Pieces in which the disk is read and kept. 16 MiB are kept: the tables of a file system and its directories. */
export const CACHE_BLOCK_BYTES: number = 32 * KIB;
export const CACHE_BLOCK_COUNT = 512;
/** Longer reads are of files, which are read once. */
export const DIRECT_READ_BYTES: number = 256 * KIB;

/** GPT: 128 entries are usual; Linux takes any number, sgdisk makes up to some thousands. */
export const PARTITION_COUNT_MAX = 1024;
/** UEFI 2.10, 5.3.2: 128 bytes times a power of two. */
export const GPT_ENTRY_BYTES_MAX = 4096;
/** Linux stops at 256 minors of a disk. */
export const LOGICAL_PARTITION_COUNT_MAX = 256;
/** Partitions and logical volumes whose content is looked at. */
export const VOLUME_COUNT_MAX = 128;

/** Findings of an inspection; more say nothing more. */
export const FINDING_COUNT_MAX = 200;

/** Entries of a directory: System32 has some 5,000, a directory of modules some hundred. */
export const DIRECTORY_ENTRY_COUNT_MAX = 65_536;
/** Bytes of a directory: the above in the longest form that is usual. */
export const DIRECTORY_BYTES_MAX: number = 16 * MIB;
/** Names of directories that are kept after they were read, in all: some tens of MiB. */
export const KEPT_NAME_COUNT = 200_000;
/** Linux's MAXSYMLINKS. */
export const SYMLINK_COUNT_MAX = 40;
/** Linux's PATH_MAX. */
export const PATH_BYTES_MAX = 4096;
export const PATH_DEPTH_MAX = 128;

/** Runs of a file: one of 256 MiB in blocks of 1 KiB, none of them beside another. */
export const RUN_COUNT_MAX = 262_144;
/** Depth of an extent tree: ext4 has 5, XFS 9. */
export const TREE_DEPTH_MAX = 10;

/** Texts of configuration: os-release, fstab, one file of a network. */
export const TEXT_BYTES_MAX: number = 256 * KIB;
/** A kernel's configuration has 300 KiB, modules.dep 1 MiB, grub.cfg some hundred KiB. */
export const LIST_BYTES_MAX: number = 8 * MIB;
/** Files of one directory of configuration that are read. */
export const CONFIGURATION_FILE_COUNT_MAX = 64;

/** Debian's with all firmware has 100 MiB, compressed. */
export const INITRAMFS_BYTES_MAX: number = 384 * MIB;
/** What it unpacks to, up to the end of its archives. */
export const INITRAMFS_UNPACKED_BYTES_MAX: number = 1536 * MIB;
/** Members of the archives of an initramfs: Debian's has some 3,000. */
export const INITRAMFS_MEMBER_COUNT_MAX = 200_000;
/** Archives in an initramfs: microcode, firmware, the system. */
export const INITRAMFS_ARCHIVE_COUNT_MAX = 16;
/** Kernels whose initramfs is unpacked, the newest first. */
export const KERNEL_COUNT_MAX = 3;
/** Kernels that are listed. */
export const KERNEL_LISTED_COUNT_MAX = 32;

/** LVM2's own default is 1 MiB less 4 KiB; a group of thousands of volumes has some MiB. */
export const LVM_METADATA_BYTES_MAX: number = 4 * MIB;
export const LVM_SEGMENT_COUNT_MAX = 65_536;

/** Keys below one, of those that are looked at: Services has some 800. */
export const HIVE_SUBKEY_COUNT_MAX = 65_536;
export const HIVE_VALUE_COUNT_MAX = 4096;
export const HIVE_VALUE_BYTES_MAX: number = 4 * KIB;

/** Records of an attribute list, and fragments of one file's attributes. */
export const NTFS_ATTRIBUTE_COUNT_MAX = 8192;
