import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Run {
  readonly seconds: number;
  /** Most resident memory of the process itself; 0 where it ended too soon to be seen. */
  readonly residentMib: number;
}

/** Runs a command to its end; throws when it fails. */
export function timed(
  command: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Run> {
  const started = performance.now();
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...environment },
  });
  let residentMib = 0;
  const look = setInterval(() => {
    residentMib = Math.max(residentMib, residentMibOf(child.pid ?? 0));
  }, 4);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      clearInterval(look);
      const seconds = (performance.now() - started) / 1000;
      if (code === 0) resolve({ seconds, residentMib });
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
    });
  });
}

/** VmHWM of a process that lives (proc(5)). */
export function residentMibOf(pid: number): number {
  try {
    const [, kib = '0'] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kib) / 1024;
  } catch {
    return 0;
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Runs each of the ways in turn, `rounds` times over, so that what else the machine does hits all alike. */
export async function inTurn<Name extends string>(
  rounds: number,
  ways: Readonly<Record<Name, () => Promise<Run>>>,
): Promise<Record<Name, Run>> {
  const names = Object.keys(ways) as Name[];
  const runs = new Map<Name, Run[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) runs.get(name)?.push(await ways[name]());
  }
  const middle = (name: Name): Run => ({
    seconds: median(runs.get(name)?.map((run) => run.seconds) ?? []),
    residentMib: Math.max(...(runs.get(name)?.map((run) => run.residentMib) ?? [])),
  });
  return Object.fromEntries(names.map((name) => [name, middle(name)])) as Record<Name, Run>;
}
