import type { TestContext } from 'node:test';
import {
  completeMachine,
  type GuestEnd,
  type Machine,
  type MachineDisk,
  type MachineFacts,
  type QemuCommandOptions,
  qemuHost,
  type RunningMachine,
  startMachine,
} from '@gantry/machine';

const MIB = 2 ** 20;
/** What the guest needs; UEFI takes a good part of it, and GRUB's kernel has to fit twice for a moment. */
const BIOS_MEMORY_BYTES: number = 192 * MIB;
const UEFI_MEMORY_BYTES: number = 384 * MIB;

/** For tests that start a guest: where no processor helps, one takes some ten seconds, and this only ends a hang. */
export const GUARD = { timeout: 900_000 };

/** A guest that runs, and what it has written to its first serial port so far. */
export interface RunningGuest {
  readonly running: RunningMachine;
  /** The first match, as soon as there is one. Throws what was written when the machine ends without. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** All that was written; the machine's end is waited for. */
  ended(): Promise<{ readonly text: string; readonly end: GuestEnd }>;
}

/** A machine for a guest of `debian-disk.ts` that stands on the first of these disks. */
export function guestMachine(disks: readonly MachineDisk[], facts: MachineFacts = {}): Machine {
  const memoryBytes = facts.firmware === 'uefi' ? UEFI_MEMORY_BYTES : BIOS_MEMORY_BYTES;
  const [first, ...others] = disks.map((disk, index) => ({ ...disk, bootOrder: index + 1 }));
  if (first === undefined) throw new Error('a guest needs a disk');
  return completeMachine({ name: 'guest', memoryBytes, nics: [], disks: [first, ...others], ...facts });
}

/** Starts a machine, which is gone after the test. */
export async function startGuest(
  t: TestContext,
  machine: Machine,
  options: Pick<QemuCommandOptions, 'uefi' | 'accelerator'> = {},
): Promise<RunningGuest> {
  const running = await startMachine(machine, {
    accelerator: await accelerator(),
    ...options,
    serial: 'stdout',
  });
  t.after(() => running.stop(0).catch(() => {}));
  let text = '';
  let changed = Promise.withResolvers<void>();
  const read = (async () => {
    for await (const chunk of running.serial?.setEncoding('latin1') ?? []) {
      text += chunk;
      changed.resolve();
      changed = Promise.withResolvers();
    }
    return running.ended;
  })();
  // Whoever waits for the guest hears of it below.
  read.catch(() => {});
  return {
    running,
    async said(pattern) {
      for (;;) {
        const found = pattern.exec(text);
        if (found !== null) return found;
        const more = await Promise.race([changed.promise.then(() => true), read.then(() => false)]);
        if (!more && !pattern.test(text)) throw new Error(`the guest never said ${pattern}, but:\n${text}`);
      }
    },
    async ended() {
      const end = await read;
      return { text, end };
    },
  };
}

/** Ten times what a guest takes on two busy processors without KVM. */
const HANG_MS = 180_000;
const STARTS_MAX = 3;

/**
 * All that a guest writes from its start to its end, for guests that leave their disks alone. One in some dozens hangs
 * in its kernel under QEMU's translation; it is started anew.
 */
export async function wholeRun(
  t: TestContext,
  machine: Machine,
): Promise<{ readonly text: string; readonly end: GuestEnd }> {
  for (let start = 1; ; start++) {
    const guest = await startGuest(t, machine);
    const hang = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => hang.resolve(undefined), HANG_MS);
    const run = await Promise.race([guest.ended(), hang.promise]).finally(() => clearTimeout(timer));
    if (run !== undefined) return run;
    const [text] = await guest.said(/[\s\S]*/);
    await guest.running.stop(0);
    if (start === STARTS_MAX) throw new Error(`the guest hangs each time; it wrote last:\n${text}`);
  }
}

/** KVM where the host has it, else QEMU's own translation. */
export async function accelerator(): Promise<'kvm' | 'tcg'> {
  const { guests } = await qemuHost({ path: process.env.PATH ?? '' });
  const own = guests.find(({ architecture }) => architecture === 'x86_64');
  return own?.domainTypes.includes('kvm') === true ? 'kvm' : 'tcg';
}

/** Runs the work for each, two at a time: as many as the smallest machine has processors. */
export async function twoAtATime<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const lane = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all([lane(), lane()]);
}
