import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { convert } from '../../convert/convert.ts';
import { fileSink } from '../../io/node-file.ts';
import { edited, folder, GRAIN, noise, openFile, sparseDisk, written } from './vmdk.testkit.ts';

test('whoever decompresses a grain of a file refuses it for its marker', async (t) => {
  const disk = sparseDisk(64 * GRAIN, new Map([[0, noise(64 * GRAIN)]]));
  const file = await written(disk, 'streamOptimized', { tables: 'front' });
  const view = new DataView(file.buffer, file.byteOffset);
  const table = view.getUint32(Number(view.getBigUint64(56, true)) * 512, true) * 512;
  // Far from the end of the file, and from its grain 21.
  const at = view.getUint32(table + 20 * 4, true) * 512;
  const path = join(await folder(t), 'disk.vmdk');
  const targets = [{ format: 'raw' }, { format: 'qcow2', compression: 'zlib' }] as const;
  for (const target of targets) {
    const converted = async (bytes: Uint8Array) => {
      await writeFile(path, bytes);
      const image = await openFile(t, path);
      await convert(image.disk, await fileSink(`${path}.target`), target);
    };
    await converted(file);
    const changes: readonly [RegExp, Record<number, number | bigint>][] = [
      [/the marker of the grain for sector 2560 says sector 2561/, { [at]: 2561n }],
      [/the grain for sector 2560 has no data/, { [at + 8]: 0 }],
      [/has 131073 bytes, more than twice a grain/, { [at + 8]: 2 * GRAIN + 1 }],
      [/runs into the next one/, { [at + 8]: 2 * GRAIN }],
      [/zlib data at \d+ does not decompress to 65536 bytes/, { [at + 8]: 30_000 }],
    ];
    for (const [message, change] of changes) {
      await assert.rejects(converted(edited(file, change)), { code: 'IMAGE_MALFORMED', message });
    }
  }
});
