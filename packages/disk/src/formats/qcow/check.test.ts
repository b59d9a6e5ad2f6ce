import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { CheckReport } from '../format.ts';
import { testFolder, writeRaw } from '../images.testkit.ts';
import { checkQcow } from './check.ts';
import { qemuQcow } from './qcow.testkit.ts';

const L1 = 48;
const check = (bytes: Uint8Array): Promise<CheckReport> =>
  checkQcow(memorySource(bytes), { references: denyReferences });
const findingsOf = ({ findings }: CheckReport) => findings.map(({ structure }) => structure);

test('what qemu made is clean', async (context) => {
  const folder = await testFolder(context);
  const writes = ['write -P 1 0 100k', 'write -P 2 3m 9k'];
  const plain = await readFile(await qemuQcow(join(folder, 'plain'), '5m', writes));
  await writeRaw(join(folder, 'raw'), 4 * 2 ** 20, [[100_000, 700_000]]);
  const convert = ['convert', '-c', '-f', 'raw', '-O', 'qcow', join(folder, 'raw'), join(folder, 'packed')];
  await promisify(execFile)('qemu-img', convert).catch(() => {});
  const packed = await readFile(join(folder, 'packed'));
  await writeRaw(join(folder, 'base'), 2 ** 20, []);
  const overlay = await qemuQcow(join(folder, 'top'), '5m', writes, join(folder, 'base'));
  for (const bytes of [plain, packed, await readFile(overlay)]) {
    const report = await check(bytes);
    assert.deepEqual(report.findings, []);
    assert.deepEqual([report.format, report.corruptionCount, report.leakCount], ['qcow', 0, 0]);
  }
});

test('each kind of damage is found where it is', async (context) => {
  const folder = await testFolder(context);
  const image = await readFile(
    await qemuQcow(join(folder, 'a'), '5m', ['write -P 1 0 40k', 'write -P 2 3m 9k']),
  );
  const l2 = Number(image.readBigUInt64BE(L1));
  const cases: readonly (readonly [(copy: Buffer) => unknown, string])[] = [
    [(copy) => copy.writeBigUInt64BE(2n ** 40n, l2), 'qcow data cluster'],
    [(copy) => copy.copy(copy, l2 + 8, l2, l2 + 8), 'qcow data cluster'],
    [(copy) => copy.writeBigUInt64BE(BigInt(l2), l2), 'qcow data cluster'],
    [(copy) => copy.writeBigUInt64BE(0n, l2), ''],
    [(copy) => copy.writeBigUInt64BE(8200n, l2), 'qcow L2 table'],
    [(copy) => copy.writeBigUInt64BE(2n ** 63n + 8192n, l2), 'qcow L2 table'],
    [(copy) => copy.writeBigUInt64BE(2n ** 63n + 2n ** 51n + 2n ** 40n, l2), 'qcow compressed cluster'],
    [
      (copy) => copy.writeBigUInt64BE(2n ** 63n + 4095n * 2n ** 51n + BigInt(l2), l2),
      'qcow compressed cluster',
    ],
    [(copy) => copy.writeBigUInt64BE(2n ** 40n, L1), 'qcow L1 table'],
    [(copy) => copy.writeBigUInt64BE(8200n, L1), 'qcow L1 table'],
    [(copy) => copy.copy(copy, L1 + 8, L1, L1 + 8), 'qcow L2 table'],
  ];
  for (const [i, [change, structure]] of cases.entries()) {
    const copy = Buffer.from(image);
    change(copy);
    const found = findingsOf(await check(copy));
    if (structure === '') assert.deepEqual(found, [], `case ${i}`);
    else assert.ok(found.includes(structure), `case ${i}: ${found}`);
  }
});

test('an aborted check throws the reason', async (context) => {
  const folder = await testFolder(context);
  const image = await readFile(await qemuQcow(join(folder, 'a'), '5m'));
  const reason = new Error('enough');
  const options = { references: denyReferences, signal: AbortSignal.abort(reason) };
  await assert.rejects(checkQcow(memorySource(image), options), reason);
});
