import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '@gantry/disk';
import type { MachineDisk } from '../../model.ts';
import type { Consistency } from '../driver.ts';
import { readRecord } from '../records.ts';
import type { MachineFolder } from './machine-folder.ts';

/** A capture that is held, or being taken: what has no time yet has to be taken again. */
export interface CaptureRecord {
  readonly version: 1;
  readonly captureId: string;
  /** Where its nodes are in QEMU; absent when no QEMU ran. */
  readonly slot?: number | undefined;
  /** The disks with their positions, as they were. */
  readonly disks: readonly { readonly index: number; readonly disk: MachineDisk }[];
  readonly takenAtMs?: number | undefined;
  readonly consistency?: Consistency | undefined;
}

/** A folder for what a capture needs. */
export interface CaptureFolder {
  readonly path: string;
  readonly record: string;
}

/** Throws IMAGE_OPTION for what is no id. */
export function captureFolder({ captures }: MachineFolder, captureId: string): CaptureFolder {
  if (!/^[A-Za-z0-9-]{1,64}$/.test(captureId)) {
    throw new ImageError('IMAGE_OPTION', `${JSON.stringify(captureId)} is no id of a capture`, {
      structure: 'capture id',
      hint: 'use up to 64 letters, digits and -',
    });
  }
  const path = join(captures, captureId);
  return { path, record: join(path, 'capture.json') };
}

/** The ids of all captures that there is anything of, in order. */
export async function captureIdsOf({ captures }: MachineFolder): Promise<readonly string[]> {
  return (await readdir(captures).catch(() => [])).sort();
}

/** Whether QEMU holds a point in time for anybody. */
export async function hasHeldCaptures(folder: MachineFolder): Promise<boolean> {
  for (const captureId of await captureIdsOf(folder)) {
    const record = await readRecord<CaptureRecord>(captureFolder(folder, captureId).record).catch(
      () => undefined,
    );
    if (record?.slot !== undefined && record.takenAtMs !== undefined) return true;
  }
  return false;
}
