import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { checkVhd } from './check.ts';
import { BLOCKS_OFFSET, fixedVhd, STRIDE_BYTES, UNUSED, vhdFile } from './vhd.testkit.ts';

async function findings(file: Uint8Array): Promise<readonly string[]> {
  const report = await checkVhd(memorySource(file), { references: denyReferences });
  return report.findings.map(({ severity, structure }) => `${severity}: ${structure}`);
}

test('sound images have no findings', async () => {
  assert.deepEqual(await findings(vhdFile()), []);
  assert.deepEqual(await findings(vhdFile({ footerBytes: 511 })), []);
  assert.deepEqual(await findings(fixedVhd(new Uint8Array(4096))), []);
  assert.deepEqual(await findings(fixedVhd(new Uint8Array(4096), { footerBytes: 511 })), []);
});

test('a missing footer, a missing copy and a copy that differs are corruptions', async () => {
  assert.deepEqual(await findings(vhdFile({ footerBytes: 0 })), ['corruption: VHD footer']);
  const noCopy = vhdFile();
  noCopy.fill(0, 0, 512);
  assert.deepEqual(await findings(noCopy), ['corruption: VHD footer']);
  const other = vhdFile();
  other.set(vhdFile({ currentSize: 1024n }).subarray(0, 512));
  assert.deepEqual(await findings(other), ['corruption: VHD footer']);
});

test('every bad table entry is a corruption', async () => {
  const file = vhdFile({ table: [0, 1, 0x7fffffff, 0x7ffffffe], storedBlocks: 2 });
  file.fill(0, 1536, 1540);
  const report = await checkVhd(memorySource(file), { references: denyReferences });
  const table = report.findings.filter(({ severity }) => severity === 'corruption');
  assert.deepEqual(
    table.map(({ offsetBytes }) => offsetBytes),
    [1536, 1544, 1548, 1536],
  );
});

test('blocks that no entry names are leaks, wherever they stand', async () => {
  assert.deepEqual(await findings(vhdFile({ table: [1, UNUSED], storedBlocks: 2 })), [
    'leak: VHD data blocks',
  ]);
  assert.deepEqual(await findings(vhdFile({ table: [0, UNUSED], storedBlocks: 2 })), [
    'leak: VHD data blocks',
  ]);
  const slack = fixedVhd(new Uint8Array(4096), { currentSize: 2048n });
  assert.deepEqual(await findings(slack), ['leak: VHD fixed disk']);
});

test('entries beyond the end of the disk are a warning', async () => {
  const file = vhdFile({ table: [0, 1], currentSize: 512n });
  assert.deepEqual(await findings(file), ['leak: VHD data blocks', 'warning: VHD block allocation table']);
});

test('unused sectors are a warning when they hold data, and none when they hold zeros', async () => {
  const file = vhdFile({ table: [0, 1], bitmaps: { 0: 0xfe, 1: 0 } });
  file.fill(0, BLOCKS_OFFSET + STRIDE_BYTES + 512, BLOCKS_OFFSET + 2 * STRIDE_BYTES);
  const report = await checkVhd(memorySource(file), { references: denyReferences });
  assert.deepEqual(
    report.findings.map(({ severity, offsetBytes }) => [severity, offsetBytes]),
    [['warning', BLOCKS_OFFSET]],
  );
});

test('a saved state is a warning', async () => {
  assert.deepEqual(await findings(vhdFile({ savedState: 1 })), ['warning: VHD footer']);
});

test('a check that is aborted throws the reason', async () => {
  const reason = new Error('enough');
  const options = { references: denyReferences, signal: AbortSignal.abort(reason) };
  await assert.rejects(checkVhd(memorySource(vhdFile()), options), reason);
});
