import { chown, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { storeError } from '@gantry/disk';

/** Makes a folder that belongs to who owns the one around it: libvirt's QEMU may be of another user than this process. */
export async function makeOwnedFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o770 });
    if (process.getuid?.() !== 0) return;
    const { uid, gid } = await stat(dirname(path));
    await chown(path, uid, gid);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
    throw storeError(error, path);
  }
}
