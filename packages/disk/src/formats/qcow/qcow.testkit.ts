import { readFile } from 'node:fs/promises';
import { tool } from '../images.testkit.ts';

/** Makes a qcow with qemu-img, over a raw backing file when one is named, and runs qemu-io commands on it. */
export async function qemuQcow(
  path: string,
  size: string,
  commands: readonly string[] = [],
  backing?: string,
): Promise<string> {
  const over = backing === undefined ? [] : ['-F', 'raw', '-b', backing];
  await tool('qemu-img', 'create', '-q', '-f', 'qcow', ...over, path, size);
  if (commands.length > 0)
    await tool('qemu-io', '-f', 'qcow', ...commands.flatMap((command) => ['-c', command]), path);
  return path;
}

/** What qemu reads of an image, as bytes. */
export async function qemuRaw(path: string): Promise<Uint8Array> {
  await tool('qemu-img', 'convert', '-f', 'qcow', '-O', 'raw', path, `${path}.raw`);
  return readFile(`${path}.raw`);
}
