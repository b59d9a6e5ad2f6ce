import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { architectures } from '../architectures.ts';
import type { Architecture } from '../model.ts';
import type { FeatureStates, Host, HostGuest } from './host.ts';

/** QEMU's own names, where they are not Linux's. */
const programs: { readonly [architecture in Architecture]?: string } = {
  i686: 'i386',
  armv7l: 'arm',
  ppc64le: 'ppc64',
};

/** What QEMU can switch by itself; it offers all of it. */
const toggles: FeatureStates = ['on', 'off'];
const x86Features: ReadonlyMap<string, FeatureStates> = new Map([
  ['pae', toggles],
  ['acpi', toggles],
  ['apic', toggles],
]);

/** Hosts of these run guests of those with KVM. */
const kvmGuests: Readonly<Record<string, readonly Architecture[]>> = {
  x64: ['x86_64', 'i686'],
  arm64: ['aarch64'],
  ppc64: ['ppc64le', 'ppc64'],
  s390x: ['s390x'],
  riscv64: ['riscv64'],
  loong64: ['loongarch64'],
};

export interface QemuHostOptions {
  /** The folders to look for QEMU in, as `PATH` has them. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

/** QEMU's program for an architecture. */
export function qemuProgram(architecture: Architecture): string {
  return `qemu-system-${programs[architecture] ?? architecture}`;
}

/** What the installed QEMU runs: hvm guests of each architecture that a program is there for, with KVM where it works. */
export async function qemuHost({ path, signal }: QemuHostOptions): Promise<Host> {
  const hasKvm = await isKvmUsable();
  const found = await Promise.all(
    architectures.map(async (architecture): Promise<HostGuest[]> => {
      const emulator = await programIn(path, qemuProgram(architecture));
      if (emulator === undefined) return [];
      const isNative = kvmGuests[process.arch]?.includes(architecture) === true;
      const domainTypes =
        hasKvm && isNative && (await accelerators(emulator, signal)).includes('kvm')
          ? ['kvm', 'qemu']
          : ['qemu'];
      const isX86 = architecture === 'x86_64' || architecture === 'i686';
      const features = isX86 ? x86Features : new Map<string, FeatureStates>();
      return [{ type: 'hvm', architecture, domainTypes, features, emulator }];
    }),
  );
  return { guests: found.flat() };
}

/**
 * Whether this user may use KVM, and the processor helps it. Where an x86 has neither VMX nor SVM, what answers at
 * `/dev/kvm` imitates much of the processor (a host that is itself a guest without nesting): firmware crawls on it, and
 * systems hang that run well without it.
 */
async function isKvmUsable(): Promise<boolean> {
  if (!(await isUsable('/dev/kvm', constants.R_OK | constants.W_OK))) return false;
  if (process.arch !== 'x64') return true;
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  return /^flags\s*:.* (?:vmx|svm)\b/m.test(text);
}

async function programIn(path: string, name: string): Promise<string | undefined> {
  for (const folder of path.split(delimiter)) {
    const program = join(folder, name);
    if (folder !== '' && (await isUsable(program, constants.X_OK))) return program;
  }
  return undefined;
}

async function isUsable(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** What `-accel help` lists; a program that cannot be run has none. */
async function accelerators(emulator: string, signal: AbortSignal | undefined): Promise<string[]> {
  const text = await new Promise<string>((resolve) => {
    execFile(emulator, ['-accel', 'help'], { signal }, (_, stdout) => resolve(stdout));
  });
  signal?.throwIfAborted();
  return text.split('\n').map((line) => line.trim());
}
