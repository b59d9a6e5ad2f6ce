import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { bootDisk, type Then } from './boot-sector.testkit.ts';
import { type ImageBody, type JobBody, ServiceProcess, temporaryFolder } from './service.testkit.ts';

const MIB = 1024 * 1024;
export const DISK_BYTES: number = 8 * MIB;

export interface InstanceBody {
  readonly compartmentId: string;
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly stateReason: string | null;
  readonly jobId: string | null;
  readonly volumes: readonly { readonly volumeId: string; readonly kind: string; readonly state: string }[];
}

/** A whole service that runs machines of one CPU and 64 MiB, on a folder that is removed with the test. */
export class Machinery {
  readonly folder: string;
  readonly #flags: readonly string[];
  service: ServiceProcess;

  private constructor(folder: string, flags: readonly string[], service: ServiceProcess) {
    this.folder = folder;
    this.#flags = flags;
    this.service = service;
  }

  static async start(t: TestContext, flags: readonly string[] = []): Promise<Machinery> {
    const folder = temporaryFolder('vm');
    const shapes = join(folder.path, 'shapes.json');
    const tiny = { name: 'tiny', architecture: 'x86_64', ocpus: 0.5, memoryInGBs: 0.0625 };
    writeFileSync(
      shapes,
      JSON.stringify([
        tiny,
        { ...tiny, name: 'arm', architecture: 'aarch64' },
        { ...tiny, name: 'small', memoryInGBs: 0.1875 },
      ]),
    );
    const all = ['--shapes', shapes, ...flags];
    const service = await ServiceProcess.start(join(folder.path, 'data'), [], all);
    const machinery = new Machinery(folder.path, all, service);
    t.after(async () => {
      await machinery.#end();
      folder.remove();
    });
    await service.json('POST', '/buckets', 201, { name: 'incoming' });
    return machinery;
  }

  /** Kills the service, as a lack of memory would, and starts the next one on its folder. */
  async killAndStart(): Promise<void> {
    await this.service.kill();
    await this.startAgain();
  }

  async startAgain(): Promise<void> {
    this.service = await ServiceProcess.start(this.service.dataFolder, [], this.#flags);
  }

  image(name: string, then: Then, sizeBytes: number = DISK_BYTES): Promise<ImageBody> {
    return this.service.importBytes(name, bootDisk(name, then, sizeBytes), 'raw');
  }

  /** Starts to launch an instance of an image. */
  async beginLaunch(
    imageId: string,
    more: object = {},
  ): Promise<{ readonly instance: InstanceBody; readonly job: JobBody }> {
    return this.service.json('POST', '/instances', 202, { imageId, ...more });
  }

  /** The instance runs. */
  async launched(imageId: string, more: object = {}): Promise<InstanceBody> {
    const { instance, job } = await this.beginLaunch(imageId, more);
    await this.succeeded(job.id);
    const running = await this.instance(instance.id);
    assert.equal(running.state, 'RUNNING');
    return running;
  }

  instance(id: string): Promise<InstanceBody> {
    return this.service.json('GET', `/instances/${id}`, 200);
  }

  /** Asks until the instance is in this state. */
  async inState(id: string, state: string): Promise<InstanceBody> {
    for (;;) {
      const instance = await this.instance(id);
      if (instance.state === state) return instance;
      await pause(20);
    }
  }

  async succeeded(jobId: string): Promise<JobBody> {
    const job = await this.service.ended(jobId);
    assert.equal(job.state, 'succeeded', JSON.stringify(job));
    return job;
  }

  beginAction(id: string, action: string, more: object = {}): Promise<{ readonly job: JobBody }> {
    return this.service.json('POST', `/instances/${id}/actions`, 202, { action, ...more });
  }

  async acted(id: string, action: string, more: object = {}): Promise<JobBody> {
    return this.succeeded((await this.beginAction(id, action, more)).job.id);
  }

  beginTermination(id: string, query = ''): Promise<{ readonly job: JobBody }> {
    return this.service.json('DELETE', `/instances/${id}${query}`, 202);
  }

  /** Asks until the guest has said this since its last start: as often as it was reset, and once more. */
  async said(id: string, text: string, times = 1): Promise<string> {
    for (;;) {
      const log = Buffer.from(await this.service.bytes(`/instances/${id}/serial-log`)).toString('latin1');
      if (log.split(text).length > times) return log;
      await pause(20);
    }
  }

  /** Waits until the volumes of the instance need the vault no more. */
  async filled(id: string): Promise<void> {
    for (;;) {
      const { items } = await this.service.json<{
        items: (JobBody & { kind: string; input: { instanceId?: string } })[];
      }>('GET', '/jobs', 200);
      const [fill] = items.filter(({ kind, input }) => kind === 'volume-fill' && input.instanceId === id);
      if (fill !== undefined) return void (await this.succeeded(fill.id));
      await pause(20);
    }
  }

  /** How often a disk says that it was started: the byte that its boot sector counts in. */
  async startsOn(imageId: string): Promise<number> {
    const bytes = await this.service.bytes(`/images/${imageId}/as/raw`, { range: 'bytes=512-512' });
    return bytes[0] ?? -1;
  }

  /** Processes of QEMU that belong to machines of this service. */
  qemus(): number[] {
    const machines = join(this.service.dataFolder, 'machines');
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
          return command.startsWith('qemu-system') || command.includes('/qemu-system')
            ? command.includes(machines)
            : false;
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  volumeFiles(): string[] {
    return readdirSync(join(this.service.dataFolder, 'volumes')).filter((name) => !name.startsWith('.'));
  }

  async #end(): Promise<void> {
    await this.service.stop();
    for (const pid of this.qemus()) process.kill(pid, 'SIGKILL');
  }
}
