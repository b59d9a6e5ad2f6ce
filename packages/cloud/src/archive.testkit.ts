import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { convert, denyReferences, diskDigest, fileSink, fileSource, openDisk } from '@gantry/disk';

const MIB = 2 ** 20;

export const execute: (file: string, args: readonly string[]) => Promise<{ stdout: string }> =
  promisify(execFile);

export interface TestArchive {
  readonly raw: string;
  /** An `.oci` archive of it. */
  readonly archive: string;
  readonly diskDigest: string;
}

/** A disk of this size with data in its middle and at its ends, and its archive. */
export async function makeArchive(
  folder: string,
  sizeBytes: number,
  dataBytes: number,
): Promise<TestArchive> {
  const raw = join(folder, 'disk.raw');
  const handle = await open(raw, 'w');
  await handle.truncate(sizeBytes);
  const noise = Buffer.alloc(MIB);
  for (let done = 0; done < dataBytes; done += MIB) {
    crypto.getRandomValues(noise.subarray(0, 65536));
    for (let at = 65536; at < MIB; at += 65536) noise.copyWithin(at, 0, 65536);
    noise.writeUInt32LE(done / MIB, 70_000);
    await handle.write(noise, 0, MIB, done + 3 * 65536);
  }
  await handle.write(noise, 0, 4096, sizeBytes - 4096);
  await handle.close();
  const source = await fileSource(raw);
  const disk = await openDisk(source, { format: 'raw', references: denyReferences });
  const digest = await diskDigest(disk);
  const archive = join(folder, 'disk.oci');
  await convert(disk, await fileSink(archive), {
    format: 'oci',
    options: { firmware: 'UEFI_64', os: 'Oracle Linux', os_version: '9' },
  });
  await disk.close();
  await source.close();
  return { raw, archive, diskDigest: digest };
}
