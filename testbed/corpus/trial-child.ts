/**
 * One of the runner's child processes. It may read the project's own code and nothing else: every other file,
 * process, address or add-on that a reader reaches for is denied by Node's permission model and reported.
 */
import { subscribe } from 'node:diagnostics_channel';
import { convert, diskDigest, memorySink, memorySource, openDisk } from '@gantry/disk';
import type { HostileCase } from './case.ts';
import { pattern } from './fields.ts';
import { tryCase } from './trial.ts';
import type { Way, WayResult } from './ways.ts';

export interface TrialRequest {
  readonly hostile: HostileCase;
  readonly ways: readonly Way[];
}

export interface TrialReport {
  readonly results: readonly WayResult[];
  /** What was denied, and errors that nobody waited for. */
  readonly strays: readonly string[];
}

for (const [scope, reference] of [
  ['fs.read', '/etc/passwd'],
  ['fs.write'],
  ['net'],
  ['child'],
  ['addon'],
] as const) {
  if (process.permission?.has(scope, reference) !== false) throw new Error(`the child may use ${scope}`);
}

const strays: string[] = [];

// Not `inspector`: Node asks for it whenever a thread starts.
for (const what of ['fs', 'child', 'worker', 'net', 'wasi', 'addon', 'ffi']) {
  subscribe(`node:permission-model:${what}`, (message) => {
    const { permission, resource } = message as { permission?: string; resource?: string };
    strays.push(`denied: ${permission} ${resource}`);
  });
}
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => strays.push(`${event}: ${(error as Error)?.stack ?? error}`));
}

/** What was started and not waited for shows itself within a few turns. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Garbage of what was before is not this way's; collecting it takes longer than most cases. */
let collectedAtBytes = process.memoryUsage.rss();
const GARBAGE_BYTES = 8 * 2 ** 20;

function collectGarbage(): void {
  if (process.memoryUsage.rss() < collectedAtBytes + GARBAGE_BYTES) return;
  globalThis.gc?.();
  collectedAtBytes = process.memoryUsage.rss();
}

process.on('message', async ({ hostile, ways }: TrialRequest) => {
  strays.length = 0;
  const results = await tryCase(hostile, ways, async (way) => {
    await settled();
    collectGarbage();
    process.send?.(way);
  });
  await settled();
  collectGarbage();
  process.send?.({ results, strays: [...strays] } satisfies TrialReport);
});
/** Threads of the codecs, code and buffers that every process with some work has are no case's own. */
async function warmUp(): Promise<void> {
  const references = { resolve: () => Promise.reject(new Error('a good disk names a file')) };
  const sink = memorySink();
  const plain = memorySource(pattern(WARM_BYTES));
  await convert(await openDisk(plain, { format: 'raw', references }), sink, {
    format: 'qcow2',
    compression: 'zlib',
  });
  await diskDigest(await openDisk(memorySource(sink.bytes()), { format: 'qcow2', references }));
}

const WARM_BYTES = 16 * 2 ** 20;

process.on('disconnect', () => process.exit());
await warmUp();
collectGarbage();
process.send?.({ results: [], strays: [] } satisfies TrialReport);
