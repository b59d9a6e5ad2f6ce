import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { openDatabase } from '../db/database.ts';
import { BLOCK_BYTES } from './block-record.ts';
import { type DiskContent, distinctBlocks, putAll, sealAsListed } from './vault.testkit.ts';
import { Vault } from './vault.ts';
import type { VaultCheckpoint } from './writer.ts';

/** An import in a process of its own, there to be killed, or to meet a full disk. */

export const IMPORT_BLOCKS = 200;
export const importSize: number = IMPORT_BLOCKS * BLOCK_BYTES;
const BLOCKS_A_CHECKPOINT = 8;

/** Some blocks come twice, some are not there. */
export function importContent(): DiskContent {
  return new Map(
    [...distinctBlocks(IMPORT_BLOCKS)].flatMap(([block, content]) =>
      block % 7 === 3 ? [] : [[block, { ...content, seed: block % 50 === 0 ? 0 : block }] as const],
    ),
  );
}

/** Says each checkpoint on a line of its own, and `sealed` at the end. */
export async function runImport(address: string, folder: string, from: string): Promise<void> {
  const database = await openDatabase(address);
  const vault = await Vault.open({ folder, database, threads: 2, segmentLimitBytes: 1_000_000 });
  const content = importContent();
  const say = (what: unknown) => process.stdout.write(`${JSON.stringify(what)}\n`);
  const writer =
    from === '' ? await vault.beginManifest(importSize) : await vault.resumeManifest(JSON.parse(from));
  say(await writer.checkpoint());
  // Checkpoints are made while blocks go on coming in, as an import does.
  let saying: Promise<unknown> = Promise.resolve();
  for (let block = writer.nextBlock; block < IMPORT_BLOCKS; block += BLOCKS_A_CHECKPOINT) {
    const some = new Map([...content].filter(([at]) => at >= block && at < block + BLOCKS_A_CHECKPOINT));
    await putAll(writer, some);
    await saying;
    saying = writer.checkpoint().then(say);
  }
  await saying;
  await sealAsListed(vault, writer);
  await vault.close();
  await database.close();
  say('sealed');
}

/** Runs the import in a process of its own and kills it after so many checkpoints; gives what it said. */
export async function runAndKill(
  address: string,
  folder: string,
  from: VaultCheckpoint | undefined,
  checkpointsUntilKill: number,
): Promise<unknown[]> {
  const script = `const { runImport } = await import(${JSON.stringify(import.meta.url)});
    await runImport(...process.argv.slice(1));`;
  const child = spawn(
    process.execPath,
    [
      '--conditions=source',
      '--input-type=module',
      '-e',
      script,
      address,
      folder,
      from === undefined ? '' : JSON.stringify(from),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const said: unknown[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(JSON.parse(line));
    if (said.length === checkpointsUntilKill) child.kill('SIGKILL');
  }
  return said;
}
