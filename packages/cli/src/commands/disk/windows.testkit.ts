import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../command.testkit.ts';

const MIB = 1024 * 1024;
const NONE = 0xffff_ffff;

interface Key {
  readonly name: string;
  readonly keys?: readonly Key[];
  readonly values?: Readonly<Record<string, number>>;
}

/** A registry hive of these keys and DWORDs, by M. Suhanov's description; without security, which nobody looks at. */
function hive(root: Key): Buffer {
  const bytes = Buffer.alloc(8192);
  let at = 4096 + 32;
  const cell = (contentBytes: number): number => {
    const lengthBytes = Math.ceil((4 + contentBytes) / 8) * 8;
    bytes.writeInt32LE(-lengthBytes, at);
    at += lengthBytes;
    return at - lengthBytes + 4;
  };
  const offsetOf = (content: number) => content - 4 - 4096;
  const list = (mark: string, contents: readonly number[]): number => {
    if (contents.length === 0) return NONE;
    const content = cell(mark.length + (mark === '' ? 0 : 2) + contents.length * 4);
    bytes.write(mark, content, 'latin1');
    if (mark !== '') bytes.writeUInt16LE(contents.length, content + 2);
    const first = content + (mark === '' ? 0 : 4);
    for (const [index, one] of contents.entries()) bytes.writeUInt32LE(offsetOf(one), first + index * 4);
    return offsetOf(content);
  };
  const value = ([name, number]: [string, number]): number => {
    const content = cell(20 + name.length);
    bytes.write('vk', content, 'latin1');
    bytes.writeUInt16LE(name.length, content + 2);
    bytes.writeUInt32LE(0x8000_0004, content + 4);
    bytes.writeUInt32LE(number, content + 8);
    bytes.writeUInt32LE(4, content + 12);
    bytes.writeUInt16LE(1, content + 16);
    bytes.write(name, content + 20, 'latin1');
    return content;
  };
  const add = ({ name, keys = [], values = {} }: Key, flags: number): number => {
    const children = keys.map((key) => add(key, 0x20));
    const numbers = Object.entries(values).map(value);
    const [keyList, valueList] = [list('li', children), list('', numbers)];
    const content = cell(76 + name.length);
    bytes.write('nk', content, 'latin1');
    bytes.writeUInt16LE(flags, content + 2);
    bytes.writeUInt32LE(children.length, content + 20);
    for (const [field, word] of [
      [28, keyList],
      [32, NONE],
      [40, valueList],
      [44, NONE],
      [48, NONE],
    ] as const)
      bytes.writeUInt32LE(word, content + field);
    bytes.writeUInt32LE(numbers.length, content + 36);
    bytes.writeUInt16LE(name.length, content + 72);
    bytes.write(name, content + 76, 'latin1');
    for (const child of children) bytes.writeUInt32LE(offsetOf(content), child + 16);
    return content;
  };
  const top = add(root, 0x2c);
  bytes.writeInt32LE(8192 - at, at);
  bytes.write('regf', 0, 'latin1');
  const header = { 4: 1, 8: 1, 20: 1, 24: 5, 32: 1, 36: offsetOf(top), 40: 4096, 44: 1 };
  for (const [field, word] of Object.entries(header)) bytes.writeUInt32LE(word, Number(field));
  bytes.write('hbin', 4096, 'latin1');
  bytes.writeUInt32LE(4096, 4096 + 8);
  let sum = 0;
  for (let field = 0; field < 508; field += 4) sum ^= bytes.readUInt32LE(field);
  bytes.writeUInt32LE(sum >>> 0, 508);
  return bytes;
}

async function tool(program: string, ...args: readonly string[]): Promise<string> {
  // Debian has the makers of file systems where only root looks.
  const { code, stdout } = await run('sh', [
    '-c',
    'PATH="$PATH:/usr/sbin:/sbin"; exec "$@"',
    'sh',
    program,
    ...args,
  ]);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}`);
  return stdout;
}

/** A raw disk that is one NTFS, the system drive of a Windows as far as its clock is concerned. */
export async function windowsRaw(
  folder: string,
  clock: Readonly<Record<string, number>> = {},
): Promise<string> {
  const tree = join(folder, 'tree');
  const config = join(tree, 'Windows/System32/config');
  await mkdir(config, { recursive: true });
  const zone = { name: 'TimeZoneInformation', values: { Bias: 0xffff_ffc4, ...clock } };
  const set = { name: 'ControlSet001', keys: [{ name: 'Control', keys: [zone] }] };
  const select = { name: 'Select', values: { Current: 1, Default: 1 } };
  await writeFile(join(config, 'SYSTEM'), hive({ name: 'root', keys: [set, select] }));
  await writeFile(join(config, 'SOFTWARE'), hive({ name: 'root' }));
  const raw = join(folder, 'windows.raw');
  await writeFile(raw, '');
  await truncate(raw, 4 * MIB);
  await tool('mkntfs', '-q', '-F', '-Q', '-s', '512', '-p', '0', '-H', '0', '-S', '0', raw);
  await tool('wimlib-imagex', 'capture', '--quiet', '--compress=none', tree, join(folder, 'tree.wim'));
  await tool('wimlib-imagex', 'apply', '--quiet', join(folder, 'tree.wim'), raw);
  return raw;
}

/** The value as ntfs-3g and hivex read it of such a disk; undefined where it is not there. */
export async function clockValue(folder: string, raw: string): Promise<string | undefined> {
  const file = join(folder, 'SYSTEM');
  await tool('sh', '-c', 'ntfscat "$0" /Windows/System32/config/SYSTEM > "$1"', raw, file);
  if ((await readFile(file)).length === 0) throw new Error(`${raw} has no registry`);
  const key = '\\ControlSet001\\Control\\TimeZoneInformation';
  const values = await tool('hivexget', file, key);
  return /^"RealTimeIsUniversal"=dword:(.*)$/m.exec(values)?.[1];
}
