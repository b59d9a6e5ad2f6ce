import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { completeMachine } from '../complete.ts';
import { findFirmware } from './firmware.ts';

const machine = { ...completeMachine({ name: 'x' }), firmware: 'uefi' as const };

test('the installed firmware is found, with keys where secure boot is wanted', async () => {
  const plain = await findFirmware(machine);
  assert.deepEqual(plain, {
    codePath: '/usr/share/OVMF/OVMF_CODE_4M.fd',
    templatePath: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    format: 'raw',
    requiresSmm: false,
    secureBoot: false,
  });
  const secure = await findFirmware({ ...machine, secureBoot: true });
  assert.deepEqual(secure, {
    codePath: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd',
    templatePath: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd',
    format: 'raw',
    requiresSmm: true,
    secureBoot: true,
  });
  assert.equal(await findFirmware({ ...machine, firmware: 'bios' }), undefined);
  assert.equal(await findFirmware({ ...machine, architecture: 'riscv64' }), undefined);
});

test('later folders go before, names give the order, and an empty file takes a descriptor away', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'gantry-fw-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  const folders = [join(root, 'a'), join(root, 'b')];
  for (const folder of folders) await mkdir(folder);
  const write = (path: string, code: string, more: object = {}) =>
    writeFile(
      join(root, path),
      JSON.stringify({
        'interface-types': ['uefi'],
        mapping: {
          device: 'flash',
          executable: { filename: code, format: 'raw' },
          'nvram-template': { filename: '/vars', format: 'raw' },
        },
        targets: [{ architecture: 'x86_64', machines: ['pc-q35-*'] }],
        features: [],
        ...more,
      }),
    );
  const found = async () => (await findFirmware(machine, folders))?.codePath;
  await write('a/50-one.json', '/one');
  await write('a/60-two.json', '/two');
  await write('a/10-bios.json', '/bios', { 'interface-types': ['bios'] });
  await write('a/11-old.json', '/old', { targets: [{ architecture: 'x86_64', machines: ['pc-i440fx-*'] }] });
  await writeFile(join(root, 'a/12-odd.json'), '{');
  assert.equal(await found(), '/one');
  await write('b/50-one.json', '/mine');
  assert.equal(await found(), '/mine');
  await writeFile(join(root, 'b/50-one.json'), '');
  assert.equal(await found(), '/two');
});
