import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../house/files.ts';

const SECTOR_BYTES = 512;

/** A boot sector from a source of this folder, assembled by GNU as. */
export function assembledSector(name: string): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-assembled-'));
  try {
    const object = join(folder, 'object');
    const binary = join(folder, 'binary');
    execFileSync('as', ['--32', '-o', object, join(root, 'testbed/guests', name)]);
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
    const sector = new Uint8Array(readFileSync(binary));
    if (sector.length !== SECTOR_BYTES) throw new Error(`${name} makes ${sector.length} bytes`);
    return sector;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
