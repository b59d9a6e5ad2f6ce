import { denyReferences, fileSource, openDisk } from '@gantry/disk';
import type { BackedDisk, DefinedMachine } from '../driver.ts';

/** The machine as its images are now: one that names no backing file any more needs none. */
export async function withNeededBacking(machine: DefinedMachine): Promise<DefinedMachine> {
  const disks = await Promise.all(
    machine.disks.map(async (disk): Promise<BackedDisk> => {
      if (disk.backing === undefined || (await isDelta(disk.path ?? ''))) return disk;
      const { backing: _, ...whole } = disk;
      return whole;
    }),
  );
  return { ...machine, disks };
}

/** Whether a qcow2 file names a backing file. Throws what opening it throws. */
export async function isDelta(path: string): Promise<boolean> {
  const source = await fileSource(path);
  let isNamed = false;
  try {
    const disk = await openDisk(source, {
      format: 'qcow2',
      references: {
        resolve(reference) {
          isNamed = true;
          return denyReferences.resolve(reference);
        },
      },
    });
    await disk.close();
    return false;
  } catch (error) {
    if (isNamed) return true;
    throw error;
  } finally {
    await source.close();
  }
}
