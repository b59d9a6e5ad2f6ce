import { attempts, endOf } from './attempts.ts';
import type { HostileCase } from './case.ts';
import { type Attempt, type Way, type WayResult, ways } from './ways.ts';

/** Processor time that one way may take: 2 s, for images of a few KiB to a few MiB. */
export const CPU_LIMIT_MS = 2000;

const CPU_LOOKS_EVERY_MS = 100;

/** Opens and reads a case in every way. Never throws. */
export async function tryCase(
  hostile: HostileCase,
  wanted: readonly Way[] = ways,
  beforeWay: (way: Way) => Promise<void> = async () => {},
): Promise<WayResult[]> {
  const results: WayResult[] = [];
  const kept: Attempt['kept'] = {};
  for (const way of wanted) {
    await beforeWay(way);
    const asked: string[] = [];
    const abort = new AbortController();
    const before = process.cpuUsage();
    const cpuMs = () => {
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    const timer = setInterval(() => {
      if (cpuMs() > CPU_LIMIT_MS) abort.abort(new Error(`more than ${CPU_LIMIT_MS} ms of processor time`));
    }, CPU_LOOKS_EVERY_MS);
    const end = await endOf(() => attempts[way]({ hostile, signal: abort.signal, asked, kept }));
    clearInterval(timer);
    results.push({ way, end, cpuMs: Math.round(cpuMs()), asked });
  }
  return results;
}
