import { ImageError } from '@gantry/disk';
import { osFamilyOf } from './guest-os.ts';
import type { Losses } from './losses.ts';
import type { DiskBus, Machine, MachineDisk } from './model.ts';
import { busOfTarget, targetsFor } from './targets.ts';

/** The board of a machine, by QEMU's names; libvirt has the same. */
export type Board = 'pc' | 'q35' | 'virt' | 'pseries' | 's390-ccw-virtio';

/** A disk with the place where QEMU and libvirt attach it. */
export interface PlacedDisk {
  readonly disk: MachineDisk;
  /** Where it stands in the machine's list. */
  readonly index: number;
  readonly bus: DiskBus;
  readonly target: string;
}

/** Buses that the boards have, as far as they lack any. */
const buses: { readonly [board in Board]?: readonly DiskBus[] } = {
  q35: ['sata', 'scsi', 'virtio', 'usb', 'nvme', 'floppy'],
  virt: ['sata', 'scsi', 'virtio', 'usb', 'nvme'],
  pseries: ['scsi', 'virtio', 'usb', 'nvme'],
  's390-ccw-virtio': ['scsi', 'virtio'],
};

/** IDE and the BIOS of old guests are those of `pc`. Throws IMAGE_UNSUPPORTED for what QEMU has no general board for. */
export function boardOf({ architecture, firmware }: Machine): Board {
  if (architecture === 'x86_64' || architecture === 'i686') return firmware === 'uefi' ? 'q35' : 'pc';
  if (architecture === 'aarch64' || architecture === 'armv7l' || architecture === 'riscv64') return 'virt';
  if (architecture === 'ppc64' || architecture === 'ppc64le') return 'pseries';
  if (architecture === 's390x') return 's390-ccw-virtio';
  throw new ImageError('IMAGE_UNSUPPORTED', `there is no general machine for ${architecture} here`, {
    structure: 'machine architecture',
    hint: 'start it with a program for that kind of machine; what is known are x86, ARM, RISC-V, POWER and IBM Z',
  });
}

/**
 * Gives every disk that has a file, or is a drive, a bus that the board has and that is not among the `missing` ones,
 * and a name of that bus. Throws IMAGE_OPTION for names that two disks want.
 */
export function placeDisks(
  machine: Machine,
  board: Board | 'xen',
  losses: Losses,
  missing: readonly DiskBus[] = [],
): PlacedDisk[] {
  const placed = machine.disks.flatMap((disk, index) => {
    if (disk.path === undefined && disk.device === 'disk') {
      losses.add(`disks[${index}]`, disk, 'there is no file to attach');
      return [];
    }
    const bus = busFor(disk, machine, board, missing);
    if (disk.readOnly === true && disk.device === 'disk' && (bus === 'ide' || bus === 'sata'))
      throw readOnlyRefused(index, bus);
    if (disk.bus !== bus) losses.add(`disks[${index}].bus`, disk.bus, `it is attached to ${bus} here`);
    return [{ disk, index, bus, target: fittingTarget(disk, bus, index, losses) }];
  });
  const wishes = placed.map(({ disk: { device }, bus, target }) => ({ device, bus, target }));
  const targets = targetsFor(
    wishes,
    ({ message }) =>
      new ImageError('IMAGE_OPTION', message, {
        structure: 'machine disks',
        hint: 'give the disks other targets, or leave them away',
      }),
  );
  return placed.map((each, at) => ({ ...each, target: targets[at] ?? '' }));
}

function busFor(
  { device, bus, target, readOnly }: MachineDisk,
  machine: Machine,
  board: Board | 'xen',
  missing: readonly DiskBus[],
): DiskBus {
  if (board === 'xen') return bus === 'ide' || bus === 'scsi' ? bus : 'xen';
  if (device === 'floppy') return 'floppy';
  const has = (candidate: DiskBus) =>
    (buses[board]?.includes(candidate) ?? true) && !missing.includes(candidate);
  const wanted = bus ?? (target === undefined ? undefined : busOfTarget(target));
  const fits =
    wanted !== 'xen' &&
    wanted !== 'floppy' &&
    !(device === 'cdrom' && (wanted === 'virtio' || wanted === 'nvme' || wanted === 'usb'));
  if (wanted !== undefined && fits && has(wanted)) return wanted;
  if (device === 'disk' && readOnly === true && wanted === undefined) return 'scsi';
  const isLinux = osFamilyOf(machine.guestOs ?? {}) === 'linux';
  if (device === 'disk' && (wanted === 'xen' || isLinux || !has('sata'))) return 'virtio';
  return has('sata') ? 'sata' : 'scsi';
}

function readOnlyRefused(index: number, bus: DiskBus): ImageError {
  return new ImageError('IMAGE_OPTION', `disks[${index}] is read only, and disks of ${bus} are not`, {
    structure: `machine disks[${index}].readOnly`,
    hint: 'attach it to scsi or virtio, as a cdrom, or let it be written to',
  });
}

/** The name that the disk has, unless it is one of another bus. */
function fittingTarget(disk: MachineDisk, bus: DiskBus, index: number, losses: Losses): string | undefined {
  const { target } = disk;
  if (target === undefined) return undefined;
  const named = busOfTarget(target);
  const isSd = named === 'sata' && ['scsi', 'usb', 'nvme', 'sata'].includes(bus);
  if (named === bus || isSd) return target;
  losses.add(`disks[${index}].target`, target, `it is no name of the bus ${bus}`);
  return undefined;
}

/** The disks and drives in the order in which the firmware tries them, each with its place in it, from 1. */
export function bootPlaces(machine: Machine, losses: Losses): ReadonlyMap<number, number> {
  const ordered = machine.disks
    .map(({ bootOrder }, index) => ({ bootOrder, index }))
    .filter((entry): entry is { bootOrder: number; index: number } => entry.bootOrder !== undefined)
    .sort((a, b) => a.bootOrder - b.bootOrder);
  if (machine.kernel !== undefined || machine.guestType === 'xen') {
    for (const { bootOrder, index } of ordered)
      losses.add(`disks[${index}].bootOrder`, bootOrder, 'no firmware looks for what to start');
    return new Map();
  }
  for (const [at, { bootOrder, index }] of ordered.entries()) {
    if (bootOrder === ordered[at - 1]?.bootOrder)
      losses.add(
        `disks[${index}].bootOrder`,
        bootOrder,
        'another disk has the same place; the earlier one goes first',
      );
  }
  return new Map(ordered.map(({ index }, at) => [index, at + 1]));
}
