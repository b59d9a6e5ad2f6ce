import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { ImageError } from '@gantry/disk';
import fc from 'fast-check';
import { diskOf, MIB, makeDisk, makeFat, peer, temporaryFolder } from '../images.testkit.ts';
import { inspectGuest } from '../inspect.ts';
import { proposeLaunch } from '../propose.ts';
import { AREA_BYTES, AREA_LENGTH, linuxPv } from './lvm.testkit.ts';
import { parseLvmText } from './lvm-text.ts';

for (const wrapsAt of [undefined, AREA_LENGTH - 600]) {
  test(`linear logical volumes are read${wrapsAt === undefined ? '' : ', also where their metadata goes round'}`, async (t) => {
    const folder = await temporaryFolder(t);
    const pv = await linuxPv(folder, wrapsAt);
    await writeFile(`${folder}/pv`, pv);
    assert.match(
      await peer('lvm', ['pvck', '--dump', 'metadata', `${folder}/pv`]),
      /logical_volumes \{\nroot \{/,
    );
    const headers = await peer('lvm', ['pvck', '--dump', 'headers', `${folder}/pv`]);
    assert.doesNotMatch(headers, /CHECK/);
    const disk = await makeDisk(folder, 'gpt', [
      { content: pv, entry: 'type=E6D6D379-F507-44C2-A23C-238F2A3DF928' },
    ]);
    const report = await inspectGuest(await diskOf(disk));
    assert.deepEqual(
      report.fileSystems.map(({ where, kind }) => [where, kind]),
      [
        ['partition 1', 'lvm2'],
        ['logical volume group-a/root', 'ext4'],
      ],
    );
    const [system] = report.operatingSystems;
    assert.deepEqual([system?.where, system?.version], ['logical volume group-a/root', '12']);
    assert.equal(system?.linux?.mounts[0]?.where, 'logical volume group-a/root');
    assert.equal(system?.linux?.kernels[0]?.drivers?.virtio_blk.value, 'initramfs');
    assert.deepEqual(
      report.findings.map(({ code, message }) => [code, message]),
      [['VOLUME_NOT_READ', 'logical volume group-a/thin: it is of type thin; only linear volumes are read']],
    );
  });
}

test('metadata of LVM2 that does not fit its checksums is told and not followed', async (t) => {
  const pv = await linuxPv(await temporaryFolder(t));
  for (const place of [530, AREA_BYTES + 60, AREA_BYTES + 700]) {
    const damaged = pv.slice();
    damaged[place] = (damaged[place] ?? 0) ^ 0x20;
    const report = await inspectGuest(await diskOf(damaged));
    assert.deepEqual(
      report.findings.map(({ code }) => code),
      ['DAMAGED'],
      `byte ${place}`,
    );
    assert.deepEqual(report.operatingSystems, []);
  }
});

test('encrypted volumes are told as such', async (t) => {
  const folder = await temporaryFolder(t);
  const secret = ['--object', 'secret,id=s,data=passphrase', '-o', 'key-secret=s,iter-time=200'];
  const create = ['create', '-q', '-f', 'luks', ...secret, `${folder}/luks`, '4M'];
  // It measures the processor to choose a number of rounds, and now and then says that it cannot.
  for (let attempt = 1; ; attempt++) {
    const failure = await peer('qemu-img', create).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (failure === undefined) break;
    if (attempt === 20) throw failure;
  }
  const report = await inspectGuest(await diskOf(new Uint8Array(await readFile(`${folder}/luks`))));
  assert.deepEqual(
    report.fileSystems.map(({ kind, isEncrypted, isRead }) => [kind, isEncrypted, isRead]),
    [['luks1', true, false]],
  );
  assert.match(report.fileSystems[0]?.uuid ?? '', /^[0-9a-f-]{36}$/);
  assert.deepEqual(
    report.findings.map(({ code }) => code),
    ['ENCRYPTED'],
  );
});

test('a CD that starts by BIOS and UEFI is told by its boot catalog', async (t) => {
  const folder = await temporaryFolder(t);
  await peer('mkdir', [`${folder}/cd`]);
  await writeFile(`${folder}/cd/bios.img`, new Uint8Array(2048).fill(1));
  await writeFile(`${folder}/cd/efi.img`, await makeFat(folder, {}, ['-F', '12'], MIB));
  const make = async (...args: string[]) => {
    await peer('genisoimage', ['-quiet', '-o', `${folder}/cd.iso`, ...args, `${folder}/cd`]);
    return inspectGuest(await diskOf(new Uint8Array(await readFile(`${folder}/cd.iso`))));
  };
  const both = await make(
    '-b',
    'bios.img',
    '-no-emul-boot',
    '-eltorito-alt-boot',
    '-e',
    'efi.img',
    '-no-emul-boot',
  );
  assert.deepEqual([both.firmware.bios.boots, both.firmware.uefi.boots], ['yes', 'yes']);
  assert.deepEqual(
    both.fileSystems.map(({ kind }) => kind),
    ['iso9660'],
  );
  const bios = await make('-b', 'bios.img', '-no-emul-boot');
  assert.deepEqual([bios.firmware.bios.boots, bios.firmware.uefi.boots], ['yes', 'no']);
  const none = await make();
  assert.equal(proposeLaunch(none).boots, 'no');
});

test('any text of LVM2 metadata is parsed or refused', () => {
  const words = [
    '{',
    '}',
    '[',
    ']',
    '=',
    ',',
    '"a',
    '"',
    '\\',
    '1',
    'name',
    '# x\n',
    '\n',
    'name {',
    'a = 1',
    '}}}}',
    'é',
  ];
  const texts = fc.array(fc.oneof(fc.constantFrom(...words), fc.string()), { maxLength: 60 });
  fc.assert(
    fc.property(texts, (parts) => {
      try {
        parseLvmText(parts.join(' '));
      } catch (error) {
        assert.ok(error instanceof ImageError);
      }
    }),
    { numRuns: 500 },
  );
  assert.throws(() => parseLvmText('a {'.repeat(100)), ImageError);
});
