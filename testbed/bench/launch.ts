import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { counterBootSector } from '../guests/counter-guest.ts';
import type { ServiceProcess } from '../service/service.testkit.ts';
import { makeSystemDisk } from './disk.ts';
import { inTurn, median, type Run } from './measure.ts';
import { upload } from './upload.ts';

const IMAGE_BYTES = 10 * 2 ** 30;
const LOOK_MS = 2;

export interface LaunchRow {
  readonly what: string;
  /** From the request until the machine has begun to run its firmware. */
  readonly startedSeconds: number;
  /** From the request until the first instruction of the disk has written to the serial port. */
  readonly bootedSeconds: number;
}

/** Imports an image of 10 GiB with about a GiB of data, whose guest counts; gives its id. */
export async function importCountingImage(service: ServiceProcess, folder: string): Promise<unknown> {
  const raw = makeSystemDisk(folder);
  truncateSync(raw, IMAGE_BYTES);
  const file = openSync(raw, 'r+');
  writeSync(file, counterBootSector(), 0, undefined, 0);
  closeSync(file);
  const source = join(folder, 'launch.qcow2');
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, source]);
  upload(service, source, 'launch.qcow2');
  const imported = await service.runJob('/images', {
    name: 'launch',
    source: { bucket: 'bench', key: 'launch.qcow2' },
  });
  return imported.result?.imageId;
}

/** Launches of one image: over a view of it, and after a copy. */
export async function benchLaunch(
  service: ServiceProcess,
  imageId: unknown,
  rounds: number,
): Promise<LaunchRow[]> {
  const started = new Map<string, number[]>();
  const launch = (what: string, materialize: boolean) => async (): Promise<Run> => {
    const beganMs = performance.now();
    const { instance, job } = await service.json<{ instance: { id: string }; job: { id: string } }>(
      'POST',
      '/instances',
      202,
      {
        name: what,
        imageId,
        shapeConfig: { ocpus: 1, memoryInGBs: 1 },
        materialize,
      },
    );
    const { id } = instance;
    const ended = await service.ended(job.id);
    if (ended.state !== 'succeeded') throw new Error(`the launch ${ended.state}: ${ended.error?.message}`);
    started.set(what, [...(started.get(what) ?? []), (performance.now() - beganMs) / 1000]);
    while (serialLogOf(service, id) === '') await pause(LOOK_MS);
    const seconds = (performance.now() - beganMs) / 1000;
    const gone = await service.json<{ job: { id: string } }>('DELETE', `/instances/${id}`, 202);
    await service.ended(gone.job.id);
    return { seconds, residentMib: 0 };
  };
  const runs = await inTurn(rounds, {
    view: launch('view', false),
    copy: launch('copy', true),
  });
  const row = (what: string, name: 'view' | 'copy') => ({
    what,
    startedSeconds: median(started.get(name) ?? []),
    bootedSeconds: runs[name].seconds,
  });
  return [row('over the view of the image', 'view'), row('after a copy of the disk', 'copy')];
}

/** Read where it is written: asking the service for it would take its time, too. */
export function serialLogOf({ dataFolder }: ServiceProcess, id: string): string {
  try {
    return readFileSync(join(dataFolder, 'machines', id, 'serial.log'), 'latin1');
  } catch {
    return '';
  }
}
