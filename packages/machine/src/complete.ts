import { ImageError } from '@gantry/disk';
import type { Machine, MachineFacts } from './model.ts';

/** What VirtualBox and virt-manager give a machine about which nothing is known. */
const CPU_COUNT = 1;
const MEMORY_BYTES: number = 2 * 2 ** 30;

/**
 * A machine from what is known of it, the rest as most images want it: x86_64, BIOS, one CPU, 2 GiB, a clock in
 * UTC, one NIC behind NAT, and no disks. Throws IMAGE_OPTION when there is no name, or when the CPUs or the memory are no
 * positive whole number.
 */
export function completeMachine(facts: MachineFacts): Machine {
  const { name, cpuCount = CPU_COUNT, memoryBytes = MEMORY_BYTES } = facts;
  if (name === undefined || name === '') throw refused('name', 'a machine needs a name');
  if (!Number.isSafeInteger(cpuCount) || cpuCount < 1)
    throw refused('cpuCount', `a machine cannot have ${cpuCount} CPUs`);
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < 1)
    throw refused('memoryBytes', `a machine cannot have ${memoryBytes} bytes of memory`);
  return {
    architecture: 'x86_64',
    firmware: 'bios',
    clock: 'utc',
    disks: [],
    nics: [{ network: 'nat' }],
    ...facts,
    name,
    cpuCount,
    memoryBytes,
  };
}

function refused(field: string, message: string): ImageError {
  return new ImageError('IMAGE_OPTION', message, {
    structure: `machine ${field}`,
    hint: `give the machine a ${field} that fits`,
  });
}
