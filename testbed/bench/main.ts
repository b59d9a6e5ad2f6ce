import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { ServiceProcess, temporaryFolder } from '../service/service.testkit.ts';
import { benchConvert } from './convert.ts';
import { makeSystemDisk } from './disk.ts';
import { median, residentMibOf } from './measure.ts';
import { benchTransfers } from './transfer.ts';

/** `npm run bench [-- convert|transfer|import|ROUNDS]…`: everything, five rounds, when nothing is named. */
const words = process.argv.slice(2);
const wanted = words.filter((word) => !/^\d+$/.test(word));
const runs = (what: string) => wanted.length === 0 || wanted.includes(what);
const ROUNDS = Number(words.find((word) => /^\d+$/.test(word)) ?? 5);
const MB = 1e6;

const folder = temporaryFolder('bench');
try {
  const raw = makeSystemDisk(folder.path);
  const dataBytes = Number(execFileSync('du', ['--block-size=1', raw], { encoding: 'utf8' }).split('\t')[0]);
  const cpu = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  const qemu = execFileSync('qemu-img', ['--version'], { encoding: 'utf8' }).split('\n')[0];
  console.log(`${cpu}; Node ${process.version}; ${qemu}`);
  console.log(`An ext4 disk of 2 GiB with ${Math.round(dataBytes / MB)} MB of data; median of ${ROUNDS}.\n`);
  if (runs('convert')) await convertTable(raw);
  if (runs('transfer') || runs('import')) await serviceTables(raw, dataBytes);
} finally {
  folder.remove();
}

async function convertTable(raw: string): Promise<void> {
  console.log('| convert | qemu-img s | gantry s | ratio | qemu-img bytes | gantry bytes | resident MiB |');
  console.log('|---|---:|---:|---:|---:|---:|---:|');
  for await (const row of benchConvert(folder.path, raw, ROUNDS)) {
    const ratio = (row.qemuSeconds / row.gantrySeconds).toFixed(2);
    const seconds = `${row.qemuSeconds.toFixed(2)} | ${row.gantrySeconds.toFixed(2)} | ${ratio}`;
    console.log(
      `| ${row.pair} | ${seconds} | ${row.qemuBytes} | ${row.gantryBytes} | ${row.residentMib.toFixed(0)} |`,
    );
  }
  console.log();
}

async function serviceTables(raw: string, dataBytes: number): Promise<void> {
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
  execFileSync('curl', [
    '-sSf',
    '-H',
    `Authorization: Bearer ${service.token}`,
    '-o',
    '/dev/null',
    '--upload-file',
    source,
    `${service.address}/api/v1/buckets/bench/objects/disk.qcow2`,
  ]);
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
