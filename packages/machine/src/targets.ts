import type { DiskBus, MachineDisk } from './model.ts';

/** How the disks of a bus are called in domain XML and in old guests, and how many fit there. */
export interface TargetNames {
  readonly prefix: string;
  readonly countMax: number;
}

/** libvirt has names up to `sdzzz`; no machine has more than a few. */
const MANY = 1024;

const names: Readonly<Record<DiskBus, TargetNames>> = {
  ide: { prefix: 'hd', countMax: 4 },
  xen: { prefix: 'xvd', countMax: MANY },
  virtio: { prefix: 'vd', countMax: MANY },
  scsi: { prefix: 'sd', countMax: MANY },
  sata: { prefix: 'sd', countMax: MANY },
  usb: { prefix: 'sd', countMax: MANY },
  nvme: { prefix: 'sd', countMax: MANY },
  floppy: { prefix: 'fd', countMax: 2 },
};

const LETTERS = 26;
/** The only place where an IDE disc drive was for long, and where guests look for it. */
const IDE_CDROM = 'hdc';

/** The bus that a name tells; of `sda` every guest has a driver for SATA. */
export function busOfTarget(target: string): DiskBus | undefined {
  if (/^hd[a-z]+$/.test(target)) return 'ide';
  if (/^xvd[a-z]+$/.test(target)) return 'xen';
  if (/^vd[a-z]+$/.test(target)) return 'virtio';
  if (/^sd[a-z]+$/.test(target)) return 'sata';
  return /^fd[a-z]+$/.test(target) ? 'floppy' : undefined;
}

/** The number of a name among those of its prefix: 0 for `hda`, 26 for `sdaa`. */
export function targetIndex(target: string): number | undefined {
  const [, letters = ''] = /^(?:hd|xvd|vd|sd|fd)([a-z]{1,3})$/.exec(target) ?? [];
  if (letters === '') return undefined;
  return [...letters].reduce((sum, letter) => sum * LETTERS + letter.charCodeAt(0) - 96, 0) - 1;
}

function targetName(prefix: string, index: number): string {
  let letters = '';
  for (let left = index + 1; left > 0; left = Math.floor((left - 1) / LETTERS))
    letters = String.fromCharCode(97 + ((left - 1) % LETTERS)) + letters;
  return `${prefix}${letters}`;
}

export interface TargetWish {
  readonly device: MachineDisk['device'];
  readonly bus: DiskBus;
  readonly target?: string | undefined;
}

/** What cannot be: a name that two disks want, or a bus that is full. */
export interface TargetConflict {
  readonly index: number;
  /** The disk that has the name already. */
  readonly otherIndex?: number;
  readonly message: string;
}

/**
 * Names for disks: those that are said are kept, the others get the first free ones of their bus, in order.
 * `refuse` makes the error for what cannot be.
 */
export function targetsFor(
  wishes: readonly TargetWish[],
  refuse: (conflict: TargetConflict) => Error,
): string[] {
  const owners = new Map<string, number>();
  for (const [index, { target }] of wishes.entries()) {
    if (target === undefined) continue;
    const otherIndex = owners.get(target);
    if (otherIndex !== undefined)
      throw refuse({ index, otherIndex, message: `the target ${JSON.stringify(target)} is used twice` });
    owners.set(target, index);
  }
  return wishes.map((wish, index) => {
    const { prefix, countMax } = names[wish.bus];
    const at = wish.target === undefined ? undefined : targetIndex(wish.target);
    if (at !== undefined && at >= countMax)
      throw refuse({ index, message: `${wish.target} is beyond the ${countMax} disks of ${wish.bus}` });
    if (wish.target !== undefined) return wish.target;
    const target = firstFree(owners, wish, prefix, countMax);
    if (target === undefined)
      throw refuse({ index, message: `all ${countMax} names of the bus ${wish.bus} are taken` });
    owners.set(target, index);
    return target;
  });
}

function firstFree(
  owners: ReadonlyMap<string, number>,
  { device, bus }: TargetWish,
  prefix: string,
  countMax: number,
): string | undefined {
  if (device === 'cdrom' && bus === 'ide' && !owners.has(IDE_CDROM)) return IDE_CDROM;
  for (let index = 0; index < countMax; index++) {
    const name = targetName(prefix, index);
    if (!owners.has(name)) return name;
  }
  return undefined;
}
