import { dirname, isAbsolute, join } from 'node:path';
import {
  type Disk,
  fileSource,
  nbdAddressText,
  nbdSource,
  openDisk,
  type Reference,
  type ResolvedReference,
} from '@gantry/disk';
import type { BackedDisk } from '../driver.ts';

export interface OpenedDisk {
  readonly disk: Disk;
  close(): Promise<void>;
}

/**
 * A disk of a machine that does not run, with what shows through, as QEMU would read it: the files that its image
 * names are those of whoever defined the machine. Throws as `openDisk`.
 */
export async function openStopped(
  { path = '', format = 'raw', backing }: BackedDisk,
  signal: AbortSignal | undefined,
): Promise<OpenedDisk> {
  const folder = dirname(path);
  const references = {
    async resolve({ name, format: declared }: Reference): Promise<ResolvedReference> {
      if (backing !== undefined) {
        const { socketPath, name: exportName } = backing;
        const socket = { kind: 'unix', path: socketPath } as const;
        return { source: await nbdSource(nbdAddressText({ socket, exportName }), { signal }), format: 'raw' };
      }
      return { source: await fileSource(isAbsolute(name) ? name : join(folder, name)), format: declared };
    },
  };
  const source = await fileSource(path);
  try {
    const disk = await openDisk(source, { format, references, signal });
    return {
      disk,
      async close() {
        await disk.close();
        await source.close();
      },
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}
