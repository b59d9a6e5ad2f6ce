import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { convert, denyReferences, fileSink, memorySource, openDisk } from '@gantry/disk';
import { completeMachine, type Machine, type MachineFacts, writeOvf } from '@gantry/machine';

const MIB = 2 ** 20;

/** What virt-v2v reads of the appliance that is made of a machine and an empty disk. */
async function seenByVirtV2v(machine: Machine): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-ovf-'));
  try {
    const file = join(folder, 'x.ova');
    const disk = await openDisk(memorySource(new Uint8Array(MIB)), {
      format: 'raw',
      references: denyReferences,
    });
    const { text } = writeOvf(machine);
    await convert(disk, await fileSink(file), { format: 'ova', options: { descriptor: text } });
    return execFileSync('virt-v2v', ['-i', 'ova', file, '-o', 'null', '--print-source'], {
      encoding: 'utf8',
      stdio: 'pipe',
      timeout: 120_000,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const facts: MachineFacts = {
  name: 'web & "more"',
  cpuCount: 3,
  memoryBytes: 512 * MIB,
  disks: [
    { role: 'system', device: 'disk', path: 'root.vmdk', format: 'vmdk', virtualSizeBytes: MIB, bus: 'scsi' },
  ],
  nics: [
    { network: 'named', networkName: 'lab & more', model: 'e1000', macAddress: '52:54:00:ab:cd:ef' },
    { network: 'bridged', networkName: 'br0', model: 'vmxnet3' },
  ],
};

test('virt-v2v sees in an appliance the machine that was written', async () => {
  const seen = await seenByVirtV2v(completeMachine(facts));
  assert.match(seen, /source name: web & "more"/);
  assert.match(seen, /memory: 536870912 \(bytes\)/);
  assert.match(seen, /nr vCPUs: 3/);
  assert.match(seen, /firmware: bios/);
  assert.match(seen, /disks:\s+0 \[scsi\]\s/);
  assert.match(seen, /"lab & more"[^\n]*\[e1000\][\s\S]*"br0"[^\n]*\[vmxnet3\]/);
});

test('virt-v2v sees firmware, buses and drives of every kind', async () => {
  const [root] = facts.disks ?? [];
  assert.ok(root);
  for (const [bus, word] of [
    ['sata', 'sata'],
    ['ide', 'ide'],
    // It takes every storage controller that is none of these for SATA.
    ['nvme', 'sata'],
    ['virtio', 'sata'],
  ] as const) {
    const seen = await seenByVirtV2v(
      completeMachine({
        ...facts,
        firmware: 'uefi',
        disks: [
          { ...root, bus },
          { role: 'user', device: 'cdrom', bus: 'ide' },
          { role: 'user', device: 'floppy' },
        ],
      }),
    );
    assert.match(seen, /firmware: uefi/, seen);
    assert.ok(new RegExp(`disks:\\s+0 \\[${word}\\]`).test(seen), `${bus}: ${seen}`);
    assert.match(seen, /removable media:\s+CD-ROM \[ide\][^\n]*\n\s+Floppy/i, seen);
  }
});
