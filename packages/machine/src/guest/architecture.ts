import type { Architecture } from '../model.ts';
import { Fields } from './fields.ts';

/** The System V ABI's e_machine. */
const elfMachines: Readonly<Record<number, Architecture>> = {
  2: 'sparc',
  3: 'i686',
  8: 'mips',
  20: 'ppc',
  21: 'ppc64',
  22: 's390x',
  40: 'armv7l',
  43: 'sparc',
  62: 'x86_64',
  183: 'aarch64',
  243: 'riscv64',
  258: 'loongarch64',
};

/** Microsoft PE format, "Machine types". */
const peMachines: Readonly<Record<number, Architecture>> = {
  332: 'i686',
  450: 'armv7l',
  452: 'armv7l',
  20580: 'riscv64',
  25188: 'loongarch64',
  34404: 'x86_64',
  43620: 'aarch64',
};

/** Enough of a program for its headers. */
export const PROGRAM_HEAD_BYTES = 4096;

/** What a program is made for by its ELF or PE header; undefined where it has neither, or a machine not known here. */
export function programArchitecture(head: Uint8Array): Architecture | undefined {
  const fields = new Fields(head, 'program header');
  if (head.length >= 64 && fields.has(0, '\x7fELF')) return elfArchitecture(head);
  if (head.length < 64 || !fields.has(0, 'MZ')) return undefined;
  const at = fields.u32(60);
  return fields.has(at, 'PE\0\0') && at + 6 <= head.length ? peMachines[fields.u16(at + 4)] : undefined;
}

function elfArchitecture(head: Uint8Array): Architecture | undefined {
  const isBig = head[5] === 2;
  const machine = new Fields(head, 'ELF header', isBig ? 'big' : 'little').u16(18);
  const found = elfMachines[machine];
  return found === 'ppc64' && !isBig ? 'ppc64le' : found;
}
