import type { Architecture } from './model.ts';

const known: Readonly<Record<Architecture, true>> = {
  x86_64: true,
  i686: true,
  aarch64: true,
  armv7l: true,
  ppc64le: true,
  ppc64: true,
  ppc: true,
  s390x: true,
  riscv64: true,
  loongarch64: true,
  mips: true,
  sparc: true,
};

/** Every instruction set that the model knows. */
export const architectures = Object.keys(known) as readonly Architecture[];

export function isArchitecture(name: string): name is Architecture {
  return Object.hasOwn(known, name);
}
