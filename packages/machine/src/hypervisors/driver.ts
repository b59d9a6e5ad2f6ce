import type { Duplex } from 'node:stream';
import type { Disk } from '@gantry/disk';
import type { Loss, Machine, MachineDisk } from '../model.ts';

/**
 * `stopped`: its guest ended by itself, or it was ended, or never started. `crashed`: the process that ran it is gone
 * and nobody ended it (killed, out of memory), so that its disks are as after a loss of power.
 */
export type MachineState = 'running' | 'paused' | 'stopped' | 'crashed';

export interface MachineStatus {
  readonly state: MachineState;
  /** In the hypervisor's own words, where it says why: `guest-shutdown`, `io-error`. */
  readonly reason?: string | undefined;
}

/** An export of an NBD server on this host. */
export interface NbdExport {
  readonly socketPath: string;
  readonly name: string;
}

/** A disk of a machine whose image may be a delta: what the image does not hold shows through from an export. */
export interface BackedDisk extends MachineDisk {
  /**
   * Read only; it may go away for a while and come back, and reads wait for it then. The image is a qcow2 file that
   * names a backing file, whatever its name is, as `createOverlay` makes it: one that names none any more is whole, and
   * the export is not used.
   */
  readonly backing?: NbdExport | undefined;
}

/** A machine as a driver takes it. */
export interface DefinedMachine extends Omit<Machine, 'disks'> {
  readonly disks: readonly BackedDisk[];
}

/** `agent`: the guest's file systems were frozen. `shutdown`: the guest ended first. `crash`: as after a loss of power. */
export type Consistency = 'shutdown' | 'agent' | 'crash';

export interface CaptureRequest {
  /** Letters, digits and `-`. Asked again with the same one, a driver gives the same point in time, if it still holds it. */
  readonly captureId: string;
  /**
   * Whether the guest may be restarted for it: its power button is pressed, the point in time is taken when it has
   * ended, and it is started again at once. A guest that does not end within `graceMs` is reset: that is `crash`.
   */
  readonly reboot: boolean;
  readonly graceMs: number;
  /** Positions in the machine's list of disks. Default: all that are no CD or floppy drives and have an image. */
  readonly disks?: readonly number[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The disks of a machine as they were at one point in time, while the guest goes on. */
export interface Capture {
  readonly takenAtMs: number;
  readonly consistency: Consistency;
  readonly disks: readonly {
    /** Position in the machine's list of disks. */
    readonly index: number;
    readonly disk: Disk;
  }[];
  /** Lets go of the point in time and of what it took to hold it. */
  release(): Promise<void>;
}

export interface StopRequest {
  /** How long the guest has to end by itself after its power button was pressed; 0: it is not asked. */
  readonly graceMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a machine's first serial port says, kept from its last start on; of a guest that says very much the newest part. */
export interface MachineConsole {
  /** How many bytes came before those that are kept. */
  readonly startBytes: number;
  /** Bytes that are kept. */
  readonly lengthBytes: number;
  /**
   * The bytes of a range of those, counted from the first one, fewer at the end. Throws STORE_CHANGED when they are not
   * kept any more.
   */
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
}

/**
 * What Gantry needs of a hypervisor. A machine is known by an id that its definer chooses: letters, digits, `-`, `_`
 * and `.`, up to 64. Every call may be made again after it was interrupted, by another process too: what was done
 * already stays done. Unless said otherwise each throws STORE_NOT_FOUND for a machine that is not defined, STORE_IO
 * with the hypervisor's own words when that fails, and the reason of an aborted signal.
 */
export interface HypervisorDriver {
  readonly kind: 'qemu' | 'libvirt' | 'virtualbox';

  /** What would be lost. Throws IMAGE_UNSUPPORTED, IMAGE_OPTION for what cannot be run here. Changes nothing. */
  check(machine: DefinedMachine): Promise<readonly Loss[]>;

  /** Makes it known, or what it is from its next start on, when it was. Throws as `check`; STORE_REFUSED while it runs. */
  define(id: string, machine: DefinedMachine): Promise<void>;

  /** The ids of all that are defined, in order. */
  list(): Promise<readonly string[]>;

  /** Also of a machine that another process, or one before, has started. */
  status(id: string): Promise<MachineStatus>;

  /** Resolved when it runs; at once when it does already. A paused one goes on. */
  start(id: string, signal?: AbortSignal): Promise<void>;

  /** Says how it ended; one that crashed was ended by force, too. At once when it does not run. */
  stop(id: string, request: StopRequest): Promise<'graceful' | 'forced'>;

  /** As by the reset button. Throws STORE_REFUSED when it does not run. */
  reset(id: string): Promise<void>;

  pause(id: string): Promise<void>;

  /** Calls back each time the state may have changed, until the signal is aborted. */
  watch(id: string, onChange: () => void, signal: AbortSignal): void;

  console(id: string): Promise<MachineConsole>;

  /** A conversation with the first serial port. Throws STORE_REFUSED when it does not run. */
  openConsole(id: string): Promise<Duplex>;

  /** A conversation in RFB, the protocol of VNC. Throws STORE_REFUSED when it does not run or has no screen. */
  openScreen(id: string): Promise<Duplex>;

  /** A picture of the screen, PNG. Throws as `openScreen`. */
  screenshot(id: string): Promise<Uint8Array>;

  /** Puts a disk to the end of the list; a running guest finds it at once. The bus must be one that allows it. */
  attachDisk(id: string, disk: BackedDisk, signal?: AbortSignal): Promise<void>;

  /**
   * Takes out the disk with this path. Throws STORE_REFUSED when a running guest does not let go of it in time, or a
   * capture reads it.
   */
  detachDisk(id: string, path: string, signal?: AbortSignal): Promise<void>;

  /**
   * Also of a machine that is stopped: then nothing can change until it is released, and it cannot be started. A machine
   * that is ended by force, or undefined, loses its captures, and reading them fails.
   */
  capture(id: string, request: CaptureRequest): Promise<Capture>;

  /**
   * The ids of the captures that there is anything of, also of those whose taker is gone. Whoever knows which of them
   * are wanted releases the others.
   */
  captures(id: string): Promise<readonly string[]>;

  /** Lets go of a capture, whoever has taken it. Nothing to do when there is none. */
  releaseCapture(id: string, captureId: string): Promise<void>;

  /** Fills the image of each disk with what shows through, until it needs nothing else; goes on beside the guest. */
  materialize(
    id: string,
    onProgress: (doneBytes: number, totalBytes: number) => void,
    signal?: AbortSignal,
  ): Promise<void>;

  /** Forgets it, after ending it by force. Files of its disks stay. Nothing to do when it is not defined. */
  undefine(id: string): Promise<void>;

  /** Lets go of connections; machines go on. */
  close(): Promise<void>;
}
