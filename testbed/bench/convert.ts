import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../house/files.ts';
import { makeMiddleDisk, makeNoiseDisk, makeSmallerDisk, makeSystemDisk, makeTinyDisk } from './disk.ts';
import { inTurn, type Run, timed } from './measure.ts';

interface Form {
  readonly name: string;
  readonly qemuFormat: string;
  readonly qemu: readonly string[];
  readonly gantryFormat: string;
  readonly gantry: readonly string[];
}

const forms = {
  raw: { name: 'raw', qemuFormat: 'raw', qemu: [], gantryFormat: 'raw', gantry: [] },
  qcow2: { name: 'qcow2', qemuFormat: 'qcow2', qemu: [], gantryFormat: 'qcow2', gantry: [] },
  zlib: {
    name: 'qcow2 zlib',
    qemuFormat: 'qcow2',
    qemu: ['-c'],
    gantryFormat: 'qcow2',
    gantry: ['--compress', 'zlib'],
  },
  zstd: {
    name: 'qcow2 zstd',
    qemuFormat: 'qcow2',
    qemu: ['-c', '-o', 'compression_type=zstd'],
    gantryFormat: 'qcow2',
    gantry: ['--compress', 'zstd'],
  },
  stream: {
    name: 'streamOptimized',
    qemuFormat: 'vmdk',
    qemu: ['-o', 'subformat=streamOptimized'],
    gantryFormat: 'vmdk',
    gantry: ['-O', 'subformat=streamOptimized'],
  },
  vdi: { name: 'VDI', qemuFormat: 'vdi', qemu: [], gantryFormat: 'vdi', gantry: [] },
  vhd: { name: 'VHD', qemuFormat: 'vpc', qemu: [], gantryFormat: 'vhd', gantry: [] },
  vhdx: { name: 'VHDX', qemuFormat: 'vhdx', qemu: [], gantryFormat: 'vhdx', gantry: [] },
} satisfies Record<string, Form>;

const disks = {
  'ext4, 1 GB': makeSystemDisk,
  'ext4, 0.5 GB': makeMiddleDisk,
  'ext4, 0.2 GB': makeSmallerDisk,
  'noise, 0.5 GB': (folder: string) => makeNoiseDisk(folder, 'noise.raw', 2 ** 30, 512),
  'noise, 0.5 GB in 1 TiB': (folder: string) => makeNoiseDisk(folder, 'sparse.raw', 2 ** 40, 512),
  '3 MB in 16 MiB': makeTinyDisk,
};
type DiskName = keyof typeof disks;

/** A conversion to be timed; `aim` is the ratio that we want to reach. */
interface Row {
  readonly disk: DiskName;
  readonly from: Form;
  readonly to: Form;
  readonly aim: number;
}

const { raw, qcow2, zlib, zstd, stream, vdi, vhd, vhdx } = forms;
const rows: Readonly<Record<string, Row>> = {
  'raw-zlib': { disk: 'ext4, 0.2 GB', from: raw, to: zlib, aim: 3.3 },
  'raw-stream': { disk: 'ext4, 0.2 GB', from: raw, to: stream, aim: 6 },
  'stream-raw': { disk: 'ext4, 0.5 GB', from: stream, to: raw, aim: 4.5 },
  'zlib-raw': { disk: 'ext4, 0.5 GB', from: zlib, to: raw, aim: 2.5 },
  'stream-zlib': { disk: 'ext4, 0.2 GB', from: stream, to: zlib, aim: 4 },
  'zlib-stream': { disk: 'ext4, 0.2 GB', from: zlib, to: stream, aim: 12 },
  'raw-zstd': { disk: 'ext4, 0.5 GB', from: raw, to: zstd, aim: 1.8 },
  'zstd-raw': { disk: 'ext4, 0.5 GB', from: zstd, to: raw, aim: 1.4 },
  'raw-qcow2': { disk: 'ext4, 1 GB', from: raw, to: qcow2, aim: 1.2 },
  'raw-vdi': { disk: 'ext4, 1 GB', from: raw, to: vdi, aim: 1.2 },
  'raw-vhd': { disk: 'ext4, 1 GB', from: raw, to: vhd, aim: 1.2 },
  'raw-vhdx': { disk: 'ext4, 1 GB', from: raw, to: vhdx, aim: 1.2 },
  'noise-zlib': { disk: 'noise, 0.5 GB', from: raw, to: zlib, aim: 10 },
  'sparse-raw-qcow2': { disk: 'noise, 0.5 GB in 1 TiB', from: raw, to: qcow2, aim: 2.5 },
  'sparse-qcow2-qcow2': { disk: 'noise, 0.5 GB in 1 TiB', from: qcow2, to: qcow2, aim: 4 },
  'tiny-raw-qcow2': { disk: '3 MB in 16 MiB', from: raw, to: qcow2, aim: 0.7 },
};

export const rowNames: readonly string[] = Object.keys(rows);

export interface ConvertRow {
  readonly name: string;
  readonly pair: string;
  readonly aim: number;
  readonly qemuSeconds: number;
  readonly gantrySeconds: number;
  /** Ours on one processor, over ours on all. */
  readonly scaling: number;
  readonly qemuBytes: number;
  readonly gantryBytes: number;
  /** With the accelerator and without. */
  readonly residentMib: readonly [number, number];
  readonly secondsWithoutNative: number;
}

/** Times whole commands, ours beside qemu-img's default and its tuned one, and compares the outputs after. */
export async function* benchConvert(
  folder: string,
  names: readonly string[],
  rounds: number,
): AsyncGenerator<ConvertRow, void, undefined> {
  for (const [name, row] of Object.entries(rows)) {
    if (names.includes(name)) yield await benchRow(folder, name, row, rounds);
  }
}

const made = new Map<DiskName, string>();

function sourceOf(folder: string, { disk, from }: Row): { raw: string; source: string } {
  const path = made.get(disk) ?? disks[disk](folder);
  made.set(disk, path);
  if (from === raw) return { raw: path, source: path };
  const source = `${path}.${from.name.replaceAll(' ', '-')}`;
  if (!existsSync(source)) {
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', from.qemuFormat, ...from.qemu, path, source]);
  }
  return { raw: path, source };
}

async function benchRow(folder: string, name: string, row: Row, rounds: number): Promise<ConvertRow> {
  const { from, to, aim } = row;
  const { raw, source } = sourceOf(folder, row);
  const target = (who: string) => join(folder, `target-${who}`);
  const qemu = (tuning: readonly string[]) => () => {
    rmSync(target('qemu'), { force: true });
    const formats = ['-f', from.qemuFormat, '-O', to.qemuFormat, ...to.qemu];
    return timed('qemu-img', ['convert', ...tuning, ...formats, source, target('qemu')]);
  };
  const gantry = (before: readonly string[], environment: NodeJS.ProcessEnv) => (): Promise<Run> => {
    rmSync(target('gantry'), { force: true });
    const [command = '', ...args] = [...before, ...gantryCommand(from, to), source, target('gantry')];
    return timed(command, args, environment);
  };
  // Once before, so that no run is the first to load what all load.
  await gantry([], {})();
  const runs = await inTurn(rounds, {
    default: qemu([]),
    tuned: qemu(['-m', '16', '-W']),
    gantry: gantry([], { GANTRY_NATIVE: 'required' }),
  });
  const gantryBytes = statSync(target('gantry')).size;
  execFileSync('qemu-img', ['compare', '-f', to.qemuFormat, '-F', 'raw', target('gantry'), raw]);
  const one = await gantry(['taskset', '--cpu-list', '0'], { GANTRY_NATIVE: 'required' })();
  const plain = await gantry([], { GANTRY_NATIVE: 'off' })();
  execFileSync('qemu-img', ['compare', '-f', to.qemuFormat, '-F', 'raw', target('gantry'), raw]);
  const measured = {
    name,
    pair: `${from.name} → ${to.name} (${row.disk})`,
    aim,
    qemuSeconds: Math.min(runs.default.seconds, runs.tuned.seconds),
    gantrySeconds: runs.gantry.seconds,
    scaling: one.seconds / runs.gantry.seconds,
    qemuBytes: statSync(target('qemu')).size,
    gantryBytes,
    residentMib: [runs.gantry.residentMib, plain.residentMib] as const,
    secondsWithoutNative: plain.seconds,
  };
  for (const who of ['qemu', 'gantry']) rmSync(target(who));
  return measured;
}

/** The program itself, as a user runs it: its first line names the Node in PATH, which `npm run` makes ours. */
function gantryCommand(from: Form, to: Form): readonly string[] {
  const launcher = join(root, 'packages/cli/bin/gantry.cjs');
  const formats = ['--from', from.gantryFormat, '--to', to.gantryFormat, ...to.gantry];
  return [launcher, 'disk', 'convert', '--progress', 'none', ...formats];
}
