import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ImageError, nbdAddressText, openNbd, StoreError } from '@gantry/disk';
import { xml, xmlDocument } from '../../descriptors/xml/write.ts';
import type { Machine } from '../../model.ts';
import type { Capture, CaptureRequest, Consistency, MachineStatus, StopRequest } from '../driver.ts';
import { readRecord, writeRecord } from '../records.ts';
import { makeOwnedFolder } from './owned-folder.ts';
import { type LibvirtOptions, runVirsh } from './virsh.ts';

interface CaptureRecord {
  readonly version: 1;
  readonly captureId: string;
  readonly disks: readonly { readonly index: number; readonly target: string }[];
  /** The domain was started for the capture only, and its guest waits. */
  readonly isOpened?: boolean | undefined;
  /** Absent until the point in time was taken. */
  readonly takenAtMs?: number | undefined;
  readonly consistency?: Consistency | undefined;
}

/** What of a driver a capture needs. */
export interface DomainPower {
  status(id: string): Promise<MachineStatus>;
  stop(id: string, request: StopRequest): Promise<'graceful' | 'forced'>;
}

const JOB_END_MS = 30_000;
const POLL_MS = 50;

/**
 * A backup job of libvirt in pull mode (formatbackup.html): its QEMU keeps what the guest replaces in scratch files, and
 * serves the point in time by NBD. There is one of them for a domain. A domain that does not run is started for it, and
 * its guest waits.
 */
export async function captureDomain(
  power: DomainPower,
  options: LibvirtOptions,
  folder: string,
  id: string,
  machine: Machine,
  targets: ReadonlyMap<string, string>,
  request: CaptureRequest,
): Promise<Capture> {
  const { captureId, signal } = request;
  const place = join(folder, id, 'captures', requireCaptureId(captureId));
  const file = join(place, 'capture.json');
  const held = await readRecord<CaptureRecord>(file).catch(() => undefined);
  const job = await runVirsh(options, 'backup-dumpxml', '--domain', id).catch(() => '');
  if (held?.takenAtMs !== undefined && job.includes(join(place, 'nbd')))
    return opened(options, folder, id, place, held);
  if (held !== undefined) await releaseDomainCapture(options, folder, id, captureId);
  if (job !== '' && !job.includes(join(place, 'nbd'))) {
    throw new StoreError('STORE_REFUSED', `${id}: libvirt has a backup of it at work, and one at most`, {
      where: id,
      hint: 'wait until that has ended: virsh domjobinfo',
    });
  }
  const { state, reason } = await power.status(id);
  const positions =
    request.disks ??
    machine.disks.flatMap(({ device, path }, at) => (device === 'disk' && path !== undefined ? [at] : []));
  const disks = positions.map((index) => ({ index, target: targetOf(machine, targets, index) }));
  const isRunning = state === 'running' || state === 'paused';
  if (!isRunning) await requireNothingSaved(options, id);
  const record: CaptureRecord = { version: 1, captureId, disks, isOpened: !isRunning };
  for (const path of [join(folder, id), join(folder, id, 'captures'), place]) await makeOwnedFolder(path);
  await writeRecord(file, record);
  const begin = () => beginBackup(options, id, place, [...targets.values()], disks);
  try {
    let consistency: Consistency;
    if (!isRunning) {
      await runVirsh(options, 'start', '--domain', id, '--paused');
      await begin();
      consistency = state === 'crashed' || reason === 'forced' ? 'crash' : 'shutdown';
    } else if (request.reboot && state === 'running') {
      const end = await power.stop(id, { graceMs: request.graceMs, signal });
      await runVirsh(options, 'start', '--domain', id, '--paused');
      try {
        await begin();
      } finally {
        // Its guest goes on, captured or not.
        await runVirsh(options, 'resume', '--domain', id);
      }
      consistency = end === 'graceful' ? 'shutdown' : 'crash';
    } else consistency = await whileFrozen(options, id, begin);
    const complete = { ...record, takenAtMs: Date.now(), consistency };
    await writeRecord(file, complete);
    return await opened(options, folder, id, place, complete);
  } catch (error) {
    await releaseDomainCapture(options, folder, id, captureId).catch(() => {});
    throw error;
  }
}

/** To start a domain uses up what was saved of its memory, and the guest would never go on from there. */
async function requireNothingSaved(options: LibvirtOptions, id: string): Promise<void> {
  const info = await runVirsh(options, 'dominfo', '--domain', id);
  if (!/^Managed save:\s+yes$/m.test(info)) return;
  throw new StoreError('STORE_REFUSED', `${id}: the memory of its guest is saved, to go on from`, {
    where: id,
    hint: 'start it, and capture it while it runs; or give up the memory: virsh managedsave-remove',
  });
}

/** Ends the job and removes its files, whoever began it. */
export async function releaseDomainCapture(
  options: LibvirtOptions,
  folder: string,
  id: string,
  captureId: string,
): Promise<void> {
  const place = join(folder, id, 'captures', requireCaptureId(captureId));
  const record = await readRecord<CaptureRecord>(join(place, 'capture.json')).catch(() => undefined);
  if (record === undefined) return;
  // One that was interrupted may have left the guest so.
  if (record.takenAtMs === undefined) await runVirsh(options, 'domfsthaw', '--domain', id).catch(() => {});
  const isOurs = async () =>
    (await runVirsh(options, 'backup-dumpxml', '--domain', id).catch(() => '')).includes(join(place, 'nbd'));
  if (await isOurs()) {
    await runVirsh(options, 'domjobabort', '--domain', id);
    const endMs = Date.now() + JOB_END_MS;
    while ((await isOurs()) && Date.now() < endMs) await delay(POLL_MS);
  }
  if (record.isOpened === true) {
    const state = await runVirsh(options, 'domstate', '--domain', id).catch(() => '');
    // Somebody may have let it go meanwhile.
    if (state.trim() === 'paused') await runVirsh(options, 'destroy', '--domain', id);
  }
  await rm(place, { recursive: true, force: true });
}

export async function capturesOf(folder: string): Promise<readonly string[]> {
  return (await readdir(join(folder, 'captures')).catch(() => [])).sort();
}

function requireCaptureId(captureId: string): string {
  if (/^[A-Za-z0-9-]{1,64}$/.test(captureId)) return captureId;
  throw new ImageError('IMAGE_OPTION', `${JSON.stringify(captureId)} is no id of a capture`, {
    structure: 'capture id',
    hint: 'use up to 64 letters, digits and -',
  });
}

function targetOf({ disks }: Machine, targets: ReadonlyMap<string, string>, index: number): string {
  const target = targets.get(disks[index]?.path ?? '');
  if (target !== undefined) return target;
  throw new ImageError('IMAGE_OPTION', `there is no disk ${index} with an image`, {
    structure: 'capture disks',
    hint: `the machine has ${disks.length} disks and drives, counted from 0`,
  });
}

async function beginBackup(
  options: LibvirtOptions,
  id: string,
  place: string,
  all: readonly string[],
  disks: CaptureRecord['disks'],
): Promise<void> {
  const captured = new Set(disks.map(({ target }) => target));
  const text = xmlDocument(
    xml('domainbackup', { mode: 'pull' }, [
      xml('server', { transport: 'unix', socket: join(place, 'nbd') }),
      xml(
        'disks',
        {},
        all.map((name) =>
          captured.has(name)
            ? xml('disk', { name, backup: 'yes', type: 'file', exportname: name }, [
                xml('scratch', { file: join(place, `${name}.qcow2`) }),
              ])
            : xml('disk', { name, backup: 'no' }),
        ),
      ),
    ]),
  );
  const folder = await mkdtemp(join(tmpdir(), 'gantry-virsh-'));
  try {
    const file = join(folder, 'backup.xml');
    await writeFile(file, text);
    await runVirsh(options, 'backup-begin', '--domain', id, '--backupxml', file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A guest without an agent is not frozen. */
async function whileFrozen(
  options: LibvirtOptions,
  id: string,
  task: () => Promise<void>,
): Promise<Consistency> {
  const isFrozen = await runVirsh(options, 'domfsfreeze', '--domain', id).then(
    () => true,
    () => false,
  );
  try {
    await task();
  } finally {
    if (isFrozen) await runVirsh(options, 'domfsthaw', '--domain', id);
  }
  return isFrozen ? 'agent' : 'crash';
}

async function opened(
  options: LibvirtOptions,
  folder: string,
  id: string,
  place: string,
  { disks, takenAtMs = 0, consistency = 'crash', captureId }: CaptureRecord,
): Promise<Capture> {
  const socket = { kind: 'unix', path: join(place, 'nbd') } as const;
  const open: Capture['disks'][number][] = [];
  const close = async () => {
    for (const { disk } of open) await disk.close();
  };
  try {
    for (const { index, target } of disks)
      open.push({ index, disk: await openNbd(nbdAddressText({ socket, exportName: target })) });
  } catch (error) {
    await close();
    throw error;
  }
  let released: Promise<void> | undefined;
  return {
    takenAtMs,
    consistency,
    disks: open,
    release() {
      released ??= close().then(() => releaseDomainCapture(options, folder, id, captureId));
      return released;
    },
  };
}
