import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { checkZvhd, checkZvhd2 } from './check.ts';
import { blockContent, continuousPayloads, type ZvhdFields, zvhdFile } from './zvhd.testkit.ts';

async function findings(fields: ZvhdFields, bend?: (file: Uint8Array) => void): Promise<readonly string[]> {
  const file = zvhdFile(fields);
  bend?.(file);
  const check = fields.kind === 'zvhd' ? checkZvhd : checkZvhd2;
  const report = await check(memorySource(file), { references: denyReferences });
  return report.findings.map(({ severity, structure }) => `${severity}: ${structure}`);
}

test('sound images have no findings, one continuous stream too', async () => {
  const blocks = [0, 1, 3];
  const payloads = await continuousPayloads(blocks.map((block) => blockContent(block)));
  const records = blocks.map((block, i) => ({ block, payload: payloads[i] ?? new Uint8Array(0) }));
  for (const fields of [{ kind: 'zvhd' }, { kind: 'zvhd', records }, {}, { method: 0 }] as const)
    assert.deepEqual(await findings(fields), []);
});

test('damaged data of one block is one corruption, and the others are looked at', async () => {
  const bend = (file: Uint8Array) => file.fill(0xee, 4096 + 48 + 2, 4096 + 48 + 10);
  for (const fields of [{}, { method: 0 }])
    assert.deepEqual(await findings(fields, bend), ['corruption: ZVHD2 block record']);
  assert.deepEqual(await findings({ kind: 'zvhd' }, bend), ['corruption: ZVHD block record']);
});

test('a walk that ends early is a corruption', async () => {
  const cut = (file: Uint8Array) => file.fill(0, 4096, 4100);
  assert.deepEqual(await findings({ kind: 'zvhd' }, cut), ['corruption: ZVHD block record']);
  assert.deepEqual(await findings({}, cut), [
    'corruption: ZVHD2 block record',
    'corruption: ZVHD2 block record',
  ]);
});

test('an index that names other records than there are is a corruption', async () => {
  assert.deepEqual(await findings({ turnedBits: [3] }), ['corruption: ZVHD2 bitmap']);
  assert.deepEqual(await findings({ entries: { 1: { block: 3 } }, turnedBits: [2, 3] }), [
    'corruption: ZVHD2 index',
    'corruption: ZVHD2 block record',
  ]);
});

test('zlib data that other readers would lose their place in is a corruption', async () => {
  const payload = Buffer.concat([Uint8Array.of(0x78, 0x9c), deflateRawSync(blockContent(0))]);
  const records = [{ block: 0, payload: new Uint8Array(payload) }];
  assert.deepEqual(await findings({ kind: 'zvhd', records }), ['corruption: ZVHD block record']);
});

test('oddities of the header are warnings', async () => {
  assert.deepEqual(await findings({ creatorVersion: 0x00010003 }), ['warning: ZVHD2 header']);
});

test('a header that cannot be used is refused as it is on opening, and an aborted check throws its reason', async () => {
  await assert.rejects(findings({ checksum: 1 }), { code: 'IMAGE_MALFORMED' });
  const reason = new Error('enough');
  const options = { references: denyReferences, signal: AbortSignal.abort(reason) };
  await assert.rejects(checkZvhd2(memorySource(zvhdFile()), options), reason);
});
