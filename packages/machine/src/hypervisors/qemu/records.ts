import type { FoundFirmware } from '../../host/firmware.ts';
import type { DefinedMachine } from '../driver.ts';

/** What a machine is, from its next start on. */
export interface DefinitionRecord {
  readonly version: 1;
  readonly machine: DefinedMachine;
  /** For a machine with UEFI; its variables stand in its folder. */
  readonly firmware?: FoundFirmware | undefined;
}

/**
 * The last start of a machine. `starting`: its guest has not run an instruction yet. `running`: it may have. When QEMU
 * is gone then, it was killed. `ended`: QEMU was told to go, or is about to be.
 */
export interface RunRecord {
  readonly version: 1;
  readonly phase: 'starting' | 'running' | 'ended';
  /** How it ended: `guest-shutdown`, or `forced`; how the one before did, while it starts: `crashed` too. */
  readonly reason?: string | undefined;
  /** Its guest was asked to end so that a capture is taken, and is to start again. */
  readonly isRebooting?: boolean | undefined;
  /** The file systems of its guest are frozen, for some seconds. */
  readonly isFrozen?: boolean | undefined;
}
