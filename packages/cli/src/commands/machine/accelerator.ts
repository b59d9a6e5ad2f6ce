import {
  type HostGuest,
  type Machine,
  type QemuCommand,
  type QemuCommandOptions,
  qemuCommand,
} from '@gantry/machine';

/** KVM where the host has it for this guest and nothing else is wanted. */
export function acceleratorFor(
  guest: HostGuest | undefined,
  wanted: 'kvm' | 'tcg' | undefined,
): 'kvm' | 'tcg' {
  return wanted ?? (guest?.domainTypes.includes('kvm') === true ? 'kvm' : 'tcg');
}

/** The command of QEMU as the host runs it. */
export function commandFor(
  machine: Machine,
  guest: HostGuest | undefined,
  { accelerator, ...options }: Pick<QemuCommandOptions, 'accelerator' | 'serial' | 'uefi'>,
): QemuCommand {
  return qemuCommand(machine, {
    ...options,
    accelerator: acceleratorFor(guest, accelerator),
    program: guest?.emulator,
  });
}
