import { execFileSync, spawn } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
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
  const child = start('runImport', [address, folder, from === undefined ? '' : JSON.stringify(from)]);
  const said: unknown[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(JSON.parse(line));
    if (said.length === checkpointsUntilKill) child.kill('SIGKILL');
  }
  return said;
}

/** What an import saw that met a limit of its files' length, and went on when the limit was gone. */
export interface FullDiskStory {
  /** Code of the error, from the call that met it and from the next one. */
  readonly codes: readonly unknown[];
  /** Length of each segment file after the writer was closed, and the committed bytes of each. */
  readonly fileBytes: readonly number[];
  readonly committedBytes: readonly number[];
  readonly checkpoint: VaultCheckpoint;
  readonly blockCode: unknown;
}

/** An import under a limit that stands for a full disk: what it meets, it prints. */
export async function runIntoLimit(address: string, folder: string): Promise<void> {
  // Without a handler the signal that comes with the error would end the process.
  process.on('SIGXFSZ', () => {});
  const database = await openDatabase(address);
  const vault = await Vault.open({ folder, database, threads: 2 });
  const writer = await vault.beginManifest(importSize);
  const content = importContent();
  await putAll(writer, new Map([...content].filter(([block]) => block < 10)));
  const checkpoint = await writer.checkpoint();
  const codes = [
    await codeOf(putAll(writer, content).then(() => writer.checkpoint())),
    await codeOf(writer.checkpoint()),
  ];
  await writer.close();
  const names = await readdir(join(folder, 'segments'));
  const fileBytes = await Promise.all(
    names.map(async (name) => (await stat(join(folder, 'segments', name))).size),
  );
  const rows = await database.kysely.selectFrom('vault_segments').select('committed_bytes').execute();
  const other = await vault.beginManifest(importSize);
  const blockCode = await codeOf(putAll(other, content).then(() => other.checkpoint()));
  await other.abandon();

  execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
  const resumed = await vault.resumeManifest(checkpoint);
  await putAll(resumed, content);
  await sealAsListed(vault, resumed);
  await vault.close();
  await database.close();
  const committedBytes = rows.map((row) => row.committed_bytes);
  const story: FullDiskStory = { codes, fileBytes, committedBytes, checkpoint, blockCode };
  process.stdout.write(JSON.stringify(story));
}

/** Runs `runIntoLimit` in a process whose files may have `limitBytes`. */
export async function tellFullDisk(
  address: string,
  folder: string,
  limitBytes: number,
): Promise<FullDiskStory> {
  const child = start('runIntoLimit', [address, folder], ['prlimit', `--fsize=${limitBytes}:unlimited`]);
  return JSON.parse(await text(child.stdout));
}

async function codeOf(failing: Promise<unknown>): Promise<unknown> {
  try {
    await failing;
    return 'no error';
  } catch (error) {
    return (error as { code?: unknown }).code ?? String(error);
  }
}

function start(name: string, args: readonly string[], before: readonly string[] = []) {
  const script = `const kit = await import(${JSON.stringify(import.meta.url)});
    await kit.${name}(...process.argv.slice(1));`;
  const node = [process.execPath, '--conditions=source', '--input-type=module', '-e', script];
  const [program = '', ...rest] = [...before, ...node, ...args];
  return spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
}
