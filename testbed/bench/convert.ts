import { execFileSync } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../house/files.ts';
import { inTurn, timed } from './measure.ts';

interface Form {
  readonly name: string;
  readonly qemuFormat: string;
  readonly qemu: readonly string[];
  readonly gantry: readonly string[];
}

const forms = {
  raw: { name: 'raw', qemuFormat: 'raw', qemu: [], gantry: ['--to', 'raw'] },
  qcow2: { name: 'qcow2', qemuFormat: 'qcow2', qemu: [], gantry: ['--to', 'qcow2'] },
  zlib: {
    name: 'qcow2 zlib',
    qemuFormat: 'qcow2',
    qemu: ['-c'],
    gantry: ['--to', 'qcow2', '--compress', 'zlib'],
  },
  zstd: {
    name: 'qcow2 zstd',
    qemuFormat: 'qcow2',
    qemu: ['-c', '-o', 'compression_type=zstd'],
    gantry: ['--to', 'qcow2', '--compress', 'zstd'],
  },
  stream: {
    name: 'streamOptimized',
    qemuFormat: 'vmdk',
    qemu: ['-o', 'subformat=streamOptimized'],
    gantry: ['--to', 'vmdk', '-O', 'subformat=streamOptimized'],
  },
  vdi: { name: 'VDI', qemuFormat: 'vdi', qemu: [], gantry: ['--to', 'vdi'] },
} satisfies Record<string, Form>;

const pairs: readonly (readonly [Form, Form])[] = [
  [forms.raw, forms.qcow2],
  [forms.raw, forms.zlib],
  [forms.raw, forms.zstd],
  [forms.raw, forms.stream],
  [forms.zlib, forms.raw],
  [forms.qcow2, forms.vdi],
];

export interface ConvertRow {
  readonly pair: string;
  readonly qemuSeconds: number;
  readonly gantrySeconds: number;
  readonly qemuBytes: number;
  readonly gantryBytes: number;
  readonly residentMib: number;
}

/** Times whole commands, ours beside qemu-img's default and its tuned one, and compares the outputs after. */
export async function* benchConvert(
  folder: string,
  raw: string,
  rounds: number,
): AsyncGenerator<ConvertRow, void, undefined> {
  for (const [from, to] of pairs) {
    const source = from === forms.raw ? raw : join(folder, `source-${from.name}`);
    if (source !== raw) {
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', from.qemuFormat, ...from.qemu, raw, source]);
    }
    yield await benchPair(folder, raw, source, from, to, rounds);
    if (source !== raw) rmSync(source);
  }
}

async function benchPair(
  folder: string,
  raw: string,
  source: string,
  from: Form,
  to: Form,
  rounds: number,
): Promise<ConvertRow> {
  const target = (who: string) => join(folder, `target-${who}`);
  const qemu = (who: string, tuning: readonly string[]) => () => {
    rmSync(target(who), { force: true });
    const args = [
      'convert',
      ...tuning,
      '-f',
      from.qemuFormat,
      '-O',
      to.qemuFormat,
      ...to.qemu,
      source,
      target(who),
    ];
    return timed('qemu-img', args);
  };
  const declared = to === from ? [] : ['--from', from.qemuFormat];
  const command = [
    join(root, 'packages/cli/bin/gantry.mjs'),
    'disk',
    'convert',
    '--progress',
    'none',
    ...declared,
  ];
  const runs = await inTurn(rounds, {
    default: qemu('qemu', []),
    tuned: qemu('qemu', ['-m', '16', '-W']),
    gantry: () => {
      rmSync(target('gantry'), { force: true });
      return timed(process.execPath, [
        '--conditions=source',
        ...command,
        ...to.gantry,
        source,
        target('gantry'),
      ]);
    },
  });
  execFileSync('qemu-img', ['compare', '-f', to.qemuFormat, '-F', 'raw', target('gantry'), raw]);
  const row = {
    pair: `${from.name} → ${to.name}`,
    qemuSeconds: Math.min(runs.default.seconds, runs.tuned.seconds),
    gantrySeconds: runs.gantry.seconds,
    qemuBytes: statSync(target('qemu')).size,
    gantryBytes: statSync(target('gantry')).size,
    residentMib: runs.gantry.residentMib,
  };
  for (const who of ['qemu', 'gantry']) rmSync(target(who));
  return row;
}
