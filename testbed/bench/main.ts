import { execFileSync } from 'node:child_process';
import { statfsSync, statSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { codecTier } from '@gantry/disk';
import { root } from '../house/files.ts';
import { ServiceProcess, temporaryFolder } from '../service/service.testkit.ts';
import { benchCapture, benchCaptureGap } from './capture.ts';
import { benchConvert, rowNames } from './convert.ts';
import { makeSystemDisk } from './disk.ts';
import { benchLaunch, importCountingImage } from './launch.ts';
import { median, residentMibOf } from './measure.ts';
import { benchTransfers } from './transfer.ts';
import { upload } from './upload.ts';

/**
 * `npm run bench [-- convert|transfer|import|launch|capture|ROW|ROUNDS]…`: everything, five rounds, when nothing is named; three for
 * rows that are named.
 */
const words = process.argv.slice(2);
const wanted = words.filter((word) => !/^\d+$/.test(word));
const wantedRows = rowNames.filter((name) => wanted.includes(name));
const unknown = wanted.find(
  (word) => !['convert', 'transfer', 'import', 'launch', 'capture', ...rowNames].includes(word),
);
if (unknown !== undefined) {
  console.error(
    `there is no ${unknown}: name convert, transfer, import, launch, capture or one of ${rowNames.join(', ')}`,
  );
  process.exit(2);
}
const runs = (what: string) => wanted.length === 0 || wanted.includes(what);
const ROUNDS = Number(words.find((word) => /^\d+$/.test(word)) ?? (wantedRows.length > 0 ? 3 : 5));
const MB = 1e6;

execFileSync(process.execPath, [join(root, 'packages/cli/bundle.mjs')], { stdio: 'inherit' });
// In memory where there is room: what is compared are programs, not the disk that they write to.
if (hasRoom('/dev/shm')) process.env.TMPDIR = '/dev/shm';
const folder = temporaryFolder('bench');
try {
  const cpu = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  const qemu = execFileSync('qemu-img', ['--version'], { encoding: 'utf8' }).split('\n')[0];
  console.log(`${cpu}; Node ${process.version}, ${codecTier().name}; ${qemu}`);
  console.log(`Files in ${folder.path}; median of ${ROUNDS}.\n`);
  const rows = runs('convert') ? rowNames : wantedRows;
  if (rows.length > 0) await convertTable(rows);
  if (runs('transfer') || runs('import')) await serviceTables();
  if (runs('launch') || runs('capture')) await machineTables();
} finally {
  folder.remove();
}

function hasRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > 8 * 2 ** 30;
  } catch {
    return false;
  }
}

/**
 * Ratio: the better of qemu-img's two ways over ours. Size: ours over qemu-img's. The next two columns are without
 * the accelerator; scaling is one processor over all.
 */
async function convertTable(rows: readonly string[]): Promise<void> {
  console.log(
    '| row | convert | qemu-img s | gantry s | ratio | aim | size | MiB | ratio, node | MiB, node | scaling |',
  );
  console.log('|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|');
  for await (const row of benchConvert(folder.path, rows, ROUNDS)) {
    const { qemuSeconds, gantrySeconds, residentMib, scaling } = row;
    const cells = [
      row.name,
      row.pair,
      qemuSeconds.toFixed(3),
      gantrySeconds.toFixed(3),
      (qemuSeconds / gantrySeconds).toFixed(2),
      row.aim,
      (row.gantryBytes / row.qemuBytes).toFixed(4),
      residentMib[0].toFixed(0),
      (qemuSeconds / row.secondsWithoutNative).toFixed(2),
      residentMib[1].toFixed(0),
      scaling.toFixed(2),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  console.log();
}

async function serviceTables(): Promise<void> {
  const raw = makeSystemDisk(folder.path);
  const dataBytes = Number(execFileSync('du', ['--block-size=1', raw], { encoding: 'utf8' }).split('\t')[0]);
  const service = await ServiceProcess.start(join(folder.path, 'data'));
  await service.json('POST', '/buckets', 201, { name: 'bench' });
  const source = join(folder.path, 'disk.qcow2');
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, source]);
  const lengthBytes = statSync(source).size;
  if (runs('transfer')) {
    console.log('| transfer | node:http MB/s | gantry MB/s | ratio |');
    console.log('|---|---:|---:|---:|');
    for (const row of await benchTransfers(service, folder.path, source, lengthBytes, ROUNDS)) {
      const [plain, gantry] = [row.plainBytesPerSecond / MB, row.gantryBytesPerSecond / MB];
      console.log(
        `| ${row.what} | ${plain.toFixed(0)} | ${gantry.toFixed(0)} | ${(gantry / plain).toFixed(2)} |`,
      );
    }
    console.log(`\nThe service had at most ${residentMibOf(service.pid).toFixed(0)} MiB resident.\n`);
  }
  if (runs('import')) await importTable(service, source, dataBytes);
  await service.stop();
}

/** Each import has content of its own: nothing of it is in the vault before. */
async function importTable(service: ServiceProcess, source: string, dataBytes: number): Promise<void> {
  const seconds: number[] = [];
  const virtualSizeBytes = 2 * 2 ** 30;
  upload(service, source, 'disk.qcow2');
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    const job = await service.runJob('/images', {
      name: `bench-${round}`,
      source: { bucket: 'bench', key: 'disk.qcow2' },
    });
    seconds.push((performance.now() - started) / 1000);
    await service.json('DELETE', `/images/${job.result?.imageId}`, 204);
    await service.runJob('/vault/gc');
  }
  const middle = median(seconds);
  console.log('| import of qcow2 | s | guest MB/s, holes counted | guest MB/s of data |');
  console.log('|---|---:|---:|---:|');
  const rates = [virtualSizeBytes, dataBytes].map((bytes) => (bytes / middle / MB).toFixed(0));
  console.log(`| upload excluded, read back included | ${middle.toFixed(2)} | ${rates.join(' | ')} |`);
  console.log(`\nThe service had at most ${residentMibOf(service.pid).toFixed(0)} MiB resident.`);
}

async function machineTables(): Promise<void> {
  const service = await ServiceProcess.start(join(folder.path, 'data-machines'));
  await service.json('POST', '/buckets', 201, { name: 'bench' });
  if (runs('launch')) {
    const imageId = await importCountingImage(service, folder.path);
    console.log('| launch of an image of 10 GiB | s until it runs | s until its disk runs |');
    console.log('|---|---:|---:|');
    for (const { what, startedSeconds, bootedSeconds } of await benchLaunch(service, imageId, ROUNDS)) {
      console.log(`| ${what} | ${startedSeconds.toFixed(2)} | ${bootedSeconds.toFixed(2)} |`);
    }
    console.log();
  }
  if (runs('capture')) {
    console.log('| point in time of three disks | s | rounds apart | largest gap of the guest, ms |');
    console.log('|---|---:|---:|---:|');
    for (const { what, seconds, roundsApart, largestGapMs } of await benchCaptureGap(folder.path, ROUNDS)) {
      console.log(`| ${what} | ${seconds.toFixed(3)} | ${roundsApart} | ${largestGapMs.toFixed(1)} |`);
    }
    console.log('\n| images of three volumes | s | new blocks | rounds apart |');
    console.log('|---|---:|---:|---:|');
    for (const { what, seconds, newBlocks, roundsApart } of await benchCapture(service, ROUNDS)) {
      console.log(`| ${what} | ${seconds.toFixed(2)} | ${newBlocks} | ${roundsApart} |`);
    }
    console.log();
  }
  await service.stop();
}
