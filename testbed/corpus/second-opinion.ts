import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { diskDigest, memorySource, openDisk } from '@gantry/disk';

const run = promisify(execFile);

/** qemu's driver and the options with which it means the same by a size as we do. */
const drivers: Readonly<Record<string, string>> = {
  raw: 'raw',
  qcow2: 'qcow2',
  qcow: 'qcow',
  vdi: 'vdi',
  vhd: 'vpc,force_size_calc=current_size',
  vhdx: 'vhdx',
  vmdk: 'vmdk',
};

/** What qemu-img reads of an image, as a digest, or `refused`; undefined where it does not know the format. */
export async function qemuDigest(
  folder: string,
  format: string,
  bytes: Uint8Array,
): Promise<string | undefined> {
  const driver = drivers[format];
  if (driver === undefined) return undefined;
  const image = join(folder, `opinion-${process.hrtime.bigint()}`);
  const raw = `${image}.raw`;
  try {
    await writeFile(image, bytes);
    const options = `driver=${driver},read-only=on,file.driver=file,file.filename=${image}`;
    // It runs into hangs, assertions and huge outputs of its own with such files.
    const limits = ['--as=2000000000', '--fsize=134217728', '--core=0', 'timeout', '20'];
    await run('prlimit', [...limits, 'qemu-img', 'convert', '--image-opts', options, '-O', 'raw', raw]);
    const disk = await openDisk(memorySource(await readFile(raw)), {
      format: 'raw',
      references: { resolve: () => Promise.reject(new Error('raw names no file')) },
    });
    return await diskDigest(disk);
  } catch {
    return 'refused';
  } finally {
    await rm(image, { force: true });
    await rm(raw, { force: true });
  }
}
