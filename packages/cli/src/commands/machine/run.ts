import {
  createDiskFiles,
  type HostGuest,
  planDiskFiles,
  type RunningMachine,
  startMachine,
  verifyChecksums,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { shellWord } from '../../output/printable.ts';
import { OutputClosed, writeAll } from '../../output/write.ts';
import { acceleratorFor, commandFor } from './accelerator.ts';
import {
  createVariables,
  type FirmwareOptions,
  firmwareFor,
  installedQemu,
  loadMachine,
  type MachineOptions,
} from './load.ts';
import { defineFrom } from './local/define.ts';
import { withDriver } from './local/drivers.ts';
import { noteLosses } from './losses.ts';
import { commandText, notePlan } from './plan.ts';

interface RunOptions extends MachineOptions, FirmwareOptions {
  readonly connect?: string;
  readonly accelerator?: 'kvm' | 'tcg';
  readonly skipChecksum?: boolean;
  readonly grace: number;
  readonly print?: boolean;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  options: RunOptions,
): Promise<undefined> {
  const { connect = 'qemu' } = options;
  if (connect !== 'qemu') return runElsewhere(context, file, { ...options, connect });
  const { progress, signal } = context;
  const loaded = await loadMachine(context, file, options, () => installedQemu(context));
  const plan = await planDiskFiles(loaded.machine, {
    folder: loaded.folder,
    anyPath: options.anyPath,
    signal,
  });
  const guest = loaded.guest ?? (await guestFor(context, loaded.machine.architecture));
  const firmware = await firmwareFor(plan.machine, file, options);
  const asked = { accelerator: options.accelerator, serial: 'stdout' as const, uefi: firmware?.uefi };
  const command = commandFor(plan.machine, guest, asked);
  noteLosses(
    context,
    command.losses.filter(({ field }) => !isKept(field)),
    'the command',
  );
  if (options.print === true) {
    notePlan(context, loaded, plan);
    const { program, args } = command;
    await context.output.record({ program, args }, [commandText([program, ...args])]);
    return;
  }
  for (const warning of plan.warnings) progress.note(`warning: ${warning}`);
  if (options.skipChecksum !== true) await verifyChecksums(plan, signal);
  for (const path of await createDiskFiles(plan, signal)) progress.note(`made ${path}`);
  const variables = await createVariables(firmware);
  if (variables !== undefined) progress.note(`made ${variables}`);
  const accelerator = acceleratorFor(guest, options.accelerator);
  const running = await startMachine(plan.machine, {
    ...asked,
    accelerator,
    program: guest?.emulator,
    signal,
  });
  progress.note(
    `runs with QEMU, ${accelerator === 'kvm' ? 'KVM' : 'without KVM'}${await screenOf(running)}; Ctrl-C presses its power button`,
  );
  await untilEnd(context, running, options.grace);
}

/** Another hypervisor keeps its machines: it goes on when the command has ended. Throws USAGE. */
async function runElsewhere(
  context: Context,
  file: string,
  options: RunOptions & { readonly connect: string },
): Promise<undefined> {
  const { accelerator, print, uefiCode, uefiVariables, connect } = options;
  if (print === true)
    throw usageError(
      '--print shows the command of QEMU',
      'see gantry machine plan --for libvirt or virtualbox',
    );
  if (accelerator !== undefined || uefiCode !== undefined || uefiVariables !== undefined)
    throw usageError('--accelerator, --uefi-code and --uefi-variables are for QEMU', 'leave them away');
  return withDriver(context, { connect }, async (driver) => {
    const { name } = await defineFrom(context, driver, file, options);
    await driver.start(name, context.signal);
    const words = `${shellWord(name)} --connect ${shellWord(connect)}`;
    context.progress.note(`it goes on; end it with: gantry machine stop ${words}`);
    const status = await driver.status(name);
    await context.output.record({ id: name, hypervisor: driver.kind, ...status });
    return undefined;
  });
}

/** Fields that the files themselves hold, or that were used before the command was made. */
function isKept(field: string): boolean {
  return /\.(?:role|virtualSizeBytes|checksums)$/.test(field);
}

async function guestFor(context: Context, architecture: string): Promise<HostGuest | undefined> {
  const { guests } = await installedQemu(context);
  return guests.find((candidate) => candidate.architecture === architecture);
}

async function screenOf({ qmp }: RunningMachine): Promise<string> {
  const answer = await qmp.execute('query-vnc').catch(() => undefined);
  const { host, service, enabled } = (answer ?? {}) as {
    readonly host?: string;
    readonly service?: string;
    readonly enabled?: boolean;
  };
  return enabled === true ? `, screen by VNC at ${host}:${service}` : '';
}

/** Throws INTERRUPTED when the user ended it. */
async function untilEnd(context: Context, running: RunningMachine, graceSeconds: number): Promise<void> {
  const { signal, progress } = context;
  const interrupted = Promise.withResolvers<void>();
  const onAbort = () => interrupted.resolve();
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  const copied = copySerial(running);
  try {
    await Promise.race([running.ended, interrupted.promise]);
    if (signal.aborted) {
      progress.note(
        `pressed the power button; the guest has ${graceSeconds} seconds, Ctrl-C again ends it at once`,
      );
      await running.stop(graceSeconds * 1000);
    }
    await copied;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  const { reason } = await running.ended;
  progress.note(`ended${reason === undefined ? '' : `: ${reason}`}`);
  signal.throwIfAborted();
}

/** What the guest writes is its own: a terminal gets it as a serial port gives it. */
async function copySerial({ serial }: RunningMachine): Promise<void> {
  if (serial === undefined) return;
  let isOpen = true;
  for await (const chunk of serial) {
    if (!isOpen) continue;
    await writeAll(process.stdout, chunk).catch((error) => {
      if (!(error instanceof OutputClosed)) throw error;
      isOpen = false;
    });
  }
}
