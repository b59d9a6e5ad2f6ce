import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { HostileCase } from './case.ts';
import { CPU_LIMIT_MS } from './trial.ts';
import type { TrialReport } from './trial-child.ts';
import { ways as allWays, type Way, type WayResult } from './ways.ts';

/** What a case may take above what the process had: 64 MiB. */
export const MEMORY_LIMIT_BYTES: number = 64 * 2 ** 20;
/** A child that takes this much processor time, or this long, for one case hangs: it only ends the wait for it. */
const HANG_BUSY_SECONDS = 30;
/** Counted, since a machine that was asleep has not waited. */
const HANG_LOOKS = 300;
const HANG_LOOKS_EVERY_MS = 1000;
/** USER_HZ of Linux. */
const CLOCK_TICKS_A_SECOND = 100;

const here = import.meta.dirname;
const root = dirname(dirname(here));

/** Everything that a case did. */
export interface Trial {
  readonly hostile: HostileCase;
  readonly results: readonly WayResult[];
  /** Above the resident memory at the case's start, at most; undefined where the system does not tell. */
  readonly grownBytes: number | undefined;
  /** The child's end, when it did not live on: a crash, a hang; what was denied; errors that nobody awaited. */
  readonly strays: readonly string[];
}

/** A child process that tries one case after the other. */
class Child {
  readonly #process: ChildProcess;
  readonly #ready: Promise<unknown>;
  #errors = '';
  #died: string | undefined;
  #busyBefore = 0;
  /** The way that a case is being tried in. */
  #way: Way | undefined;

  constructor() {
    const readable = [join(root, 'packages'), join(root, 'node_modules'), here].map(
      (folder) => `--allow-fs-read=${folder}`,
    );
    this.#process = fork(join(here, 'trial-child.ts'), [], {
      execArgv: [
        '--conditions=source',
        '--permission',
        ...readable,
        `--allow-fs-read=${join(root, 'package.json')}`,
        `--allow-fs-read=${join(root, 'testbed', 'package.json')}`,
        '--allow-worker',
        '--disable-warning=PERM0006',
        '--disable-warning=SecurityWarning',
        '--expose-gc',
        // As the command runs: the nursery's garbage is nobody's need.
        '--max-semi-space-size=1',
      ],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: {},
    });
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#process.on('exit', (code, signal) => {
      this.#died ??= `the child ended with ${signal ?? `status ${code}`}: ${this.#errors.trim()}`;
    });
    this.#ready = this.#answer();
    this.#ready.catch(() => {});
  }

  get isAlive(): boolean {
    return this.#died === undefined;
  }

  async try(hostile: HostileCase, ways: readonly Way[]): Promise<Trial> {
    try {
      await this.#ready;
      const before = this.#resident('VmRSS');
      this.#forgetPeak();
      this.#busyBefore = 0;
      this.#busyBefore = this.#busySeconds() ?? 0;
      const answered = this.#answer();
      this.#process.send({ hostile, ways });
      const { results, strays } = (await answered) as TrialReport;
      const peak = this.#resident('VmHWM');
      const grownBytes = before === undefined || peak === undefined ? undefined : Math.max(0, peak - before);
      return { hostile, results, strays, grownBytes };
    } catch (error) {
      const where = this.#way === undefined ? '' : `${this.#way}: `;
      return { hostile, results: [], grownBytes: undefined, strays: [where + (error as Error).message] };
    }
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#died !== undefined) return reject(new Error(this.#died));
      let looks = 0;
      const hang = setInterval(() => {
        const busySeconds = this.#busySeconds() ?? 0;
        if (busySeconds < HANG_BUSY_SECONDS && ++looks < HANG_LOOKS) return;
        this.#died = `the child did not answer for ${looks} s, ${busySeconds} s of them at work`;
        this.#process.kill('SIGKILL');
      }, HANG_LOOKS_EVERY_MS);
      const settle = () => {
        clearInterval(hang);
        this.#process.off('message', onMessage);
        this.#process.off('close', onClose);
      };
      const onMessage = (message: unknown) => {
        if (typeof message === 'string') {
          this.#way = message as Way;
          return;
        }
        settle();
        resolve(message);
      };
      const onClose = () => {
        settle();
        reject(new Error(this.#died ?? 'the child ended'));
      };
      this.#process.on('message', onMessage);
      this.#process.on('close', onClose);
    });
  }

  /** Processor time of the child for this case: a loop has much of it, a lost answer none. */
  #busySeconds(): number | undefined {
    try {
      const [, rest = ''] = readFileSync(`/proc/${this.#process.pid}/stat`, 'utf8').split(') ');
      const [user, system] = rest.split(' ').slice(11, 13).map(Number);
      return Math.round(((user ?? 0) + (system ?? 0)) / CLOCK_TICKS_A_SECOND - this.#busyBefore);
    } catch {
      return undefined;
    }
  }

  /** A number of the child's /proc status, in bytes; only Linux has it. */
  #resident(field: 'VmRSS' | 'VmHWM'): number | undefined {
    try {
      const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8');
      return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
    } catch {
      return undefined;
    }
  }

  /** The peak begins anew from what is resident now. */
  #forgetPeak(): void {
    try {
      writeFileSync(`/proc/${this.#process.pid}/clear_refs`, '5');
    } catch {
      // Not Linux, or a kernel without it: the peak since the child's start is compared, which is stricter.
    }
  }

  stop(): void {
    if (this.#process.connected) this.#process.disconnect();
  }
}

/** Child processes that try cases, so many at once. They live on between runs, until they are stopped. */
export class Runner {
  readonly #children: (Child | undefined)[];

  constructor(childCount = 2) {
    this.#children = Array.from({ length: childCount }, () => undefined);
  }

  /** The trials of the cases, as they end. */
  async *run(
    cases: Iterable<HostileCase>,
    ways: readonly Way[] = allWays,
  ): AsyncGenerator<Trial, void, undefined> {
    const waiting = cases[Symbol.iterator]();
    const idle = [...this.#children.keys()];
    const working = new Map<number, Promise<{ place: number; trial: Trial }>>();
    for (let done = false; !done || working.size > 0; ) {
      while (!done && idle.length > 0) {
        const next = waiting.next();
        if (next.done) done = true;
        else {
          const place = idle.pop() as number;
          working.set(
            place,
            this.#try(place, next.value, ways).then((trial) => ({ place, trial })),
          );
        }
      }
      if (working.size === 0) continue;
      const { place, trial } = await Promise.race(working.values());
      working.delete(place);
      idle.push(place);
      yield trial;
    }
  }

  /** One that took too much memory is tried once more in a fresh child: what counts is what it needs by itself. */
  async #try(place: number, hostile: HostileCase, ways: readonly Way[]): Promise<Trial> {
    const trial = await this.#child(place).try(hostile, ways);
    if (!exceedsMemory(trial)) return trial;
    this.#children[place]?.stop();
    this.#children[place] = undefined;
    return this.#child(place).try(hostile, ways);
  }

  #child(place: number): Child {
    let child = this.#children[place];
    if (child === undefined || !child.isAlive) {
      child = new Child();
      this.#children[place] = child;
    }
    return child;
  }

  stop(): void {
    for (const child of this.#children) child?.stop();
  }
}

export function exceedsMemory({ grownBytes }: Trial): boolean {
  return grownBytes !== undefined && grownBytes > MEMORY_LIMIT_BYTES;
}

/** What is wrong with how a case ended whatever its expectation is: limits, crashes, foreign files. */
export function harm(trial: Trial): string[] {
  const problems = [...trial.strays];
  if (exceedsMemory(trial))
    problems.push(`took ${Math.round((trial.grownBytes ?? 0) / 2 ** 20)} MiB of memory`);
  for (const { way, end, cpuMs } of trial.results) {
    if (cpuMs > CPU_LIMIT_MS) problems.push(`${way}: took ${cpuMs} ms of processor time`);
    if (end.kind === 'failed') problems.push(`${way}: ${end.message}`);
  }
  return problems;
}
