import { join } from 'node:path';
import { ImageError, StoreError } from '@gantry/disk';
import type { DetachedOptions } from './command.ts';

/** What the address of a Unix socket holds on Linux, with the zero at its end; others hold less or as much. */
const SOCKET_PATH_BYTES_MAX = 107;
/** The longest name of a socket in the folder of a machine: one of the lock. */
const LONGEST_SOCKET = 'lock/.x12345678';
/** The length of a UUID, which most ids are. */
const USUAL_ID_LENGTH = 36;

/** The folder of one machine: nobody else may enter it. */
export interface MachineFolder {
  readonly path: string;
  /** What the machine is; a folder without it is none. */
  readonly definition: string;
  /** How its last start went on. */
  readonly run: string;
  readonly variables: string;
  readonly lock: string;
  readonly qmp: string;
  readonly events: string;
  readonly serial: string;
  readonly serialLog: string;
  readonly screen: string;
  readonly agent: string;
  readonly nbd: string;
  readonly pid: string;
  /** What QEMU complains of. */
  readonly log: string;
  readonly captures: string;
}

/** Throws IMAGE_OPTION for what is no id, STORE_REFUSED where the sockets would have too long a path. */
export function machineFolder(folder: string, id: string): MachineFolder {
  if (!/^[\w-][\w.-]{0,63}$/.test(id)) {
    throw new ImageError('IMAGE_OPTION', `${JSON.stringify(id)} is no id of a machine`, {
      structure: 'machine id',
      hint: 'use up to 64 letters, digits, -, _ and ., no . first',
    });
  }
  const path = join(folder, id);
  requireShort(path);
  return {
    path,
    definition: join(path, 'definition.json'),
    run: join(path, 'run.json'),
    variables: join(path, 'uefi-variables'),
    lock: join(path, 'lock'),
    qmp: join(path, 'qmp'),
    events: join(path, 'events'),
    serial: join(path, 'serial'),
    serialLog: join(path, 'serial.log'),
    screen: join(path, 'vnc'),
    agent: join(path, 'agent'),
    nbd: join(path, 'nbd'),
    pid: join(path, 'pid'),
    log: join(path, 'qemu.log'),
    captures: join(path, 'captures'),
  };
}

/** Throws STORE_REFUSED for a folder in which sockets of machines with usual ids have no place. */
export function requireShortFolder(folder: string): void {
  requireShort(join(folder, 'x'.repeat(USUAL_ID_LENGTH)));
}

function requireShort(path: string): void {
  const lengthBytes = Buffer.byteLength(join(path, LONGEST_SOCKET));
  if (lengthBytes <= SOCKET_PATH_BYTES_MAX) return;
  throw new StoreError('STORE_REFUSED', `${path} is too long for the sockets of a machine`, {
    where: path,
    hint: `choose a folder whose path is shorter by ${lengthBytes - SOCKET_PATH_BYTES_MAX} bytes`,
  });
}

export function detachedOptions(folder: MachineFolder, sandbox: boolean): DetachedOptions {
  return {
    qmpSocketPaths: [folder.qmp, folder.events],
    serialSocketPath: folder.serial,
    serialLogPath: folder.serialLog,
    screenSocketPath: folder.screen,
    agentSocketPath: folder.agent,
    pidFilePath: folder.pid,
    sandbox,
  };
}
