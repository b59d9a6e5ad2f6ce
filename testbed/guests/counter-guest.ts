import { assembledSector } from './assembler.ts';

const SECTOR_BYTES = 512;
const MAGIC = 'GANTRYCT';

/** Where each disk is written to. */
export const COUNTER_OFFSET_BYTES: number = 2 ** 20;

/** The least that a disk has to hold. */
export const COUNTER_DISK_BYTES: number = 2 * COUNTER_OFFSET_BYTES;

/** What the guest has written to a disk last. */
export interface CounterRecord {
  /** How many rounds have begun; a round writes to all disks, one after the other. */
  readonly roundCount: number;
  /** The disk as the BIOS counts them, from 0. */
  readonly diskIndex: number;
  /** The processor's counter when the round began. */
  readonly ticks: bigint;
  /** The longest time between the beginnings of two rounds until then. */
  readonly largestGapTicks: bigint;
  /** As the guest measured it at its start, by the BIOS's clock. */
  readonly ticksPerSecond: number;
  readonly largestGapMs: number;
}

/**
 * The first sector of a disk with a guest that has no system: it counts. In every round it writes the number of the
 * round to one sector of each disk, and goes on to the next when the disk has answered. Disks of one moment therefore
 * hold numbers that do not grow from the first to the last, and differ by one at most.
 *
 * Its first instructions write `G` to the first serial port; when every disk was written to, ` counts` and a line feed
 * follow. It ends when the power button is pressed. The processor's counter shows how long the guest was kept from
 * going on by its disks; when QEMU stops it, KVM lets that counter go on, QEMU's own processor does not.
 */
export function counterBootSector(): Uint8Array {
  const sector = assembledSector('counter-guest.s');
  const view = new DataView(sector.buffer, sector.byteOffset, sector.length);
  // The packet of the BIOS ends with the sector's number; the magic follows.
  const packetEnd = Buffer.from(sector).indexOf(MAGIC, 0, 'latin1');
  view.setBigUint64(packetEnd - 8, BigInt(COUNTER_OFFSET_BYTES / SECTOR_BYTES), true);
  return sector;
}

/** A whole raw disk for the guest to start from. Its other disks may be empty, and have to hold as much. */
export function counterDisk(virtualSizeBytes: number = COUNTER_DISK_BYTES): Uint8Array {
  const disk = new Uint8Array(virtualSizeBytes);
  disk.set(counterBootSector());
  return disk;
}

/** Reads the sector at `COUNTER_OFFSET_BYTES`; undefined when it was never written to. Throws for anything else. */
export function readCounter(sector: Uint8Array): CounterRecord | undefined {
  if (sector.every((byte) => byte === 0)) return undefined;
  const view = new DataView(sector.buffer, sector.byteOffset, sector.length);
  const magic = Buffer.from(sector.subarray(0, MAGIC.length)).toString('latin1');
  if (magic !== MAGIC) throw new Error(`the sector of the counter begins with ${JSON.stringify(magic)}`);
  const field = (at: number) => view.getBigUint64(at, true);
  // Four ticks of the BIOS, of 65536 periods of its timer each.
  const ticksPerSecond = (Number(field(40)) * 1_193_182) / (4 * 65_536);
  const largestGapTicks = field(32);
  return {
    roundCount: Number(field(8)),
    diskIndex: sector[16] ?? 0,
    ticks: field(24),
    largestGapTicks,
    ticksPerSecond,
    largestGapMs: (Number(largestGapTicks) / ticksPerSecond) * 1000,
  };
}
