import { createHash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { type ByteSource, StoreError } from '@gantry/disk';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import {
  forgetScreenTickets,
  insertScreenTicket,
  takeScreenTicket,
} from '../db/repositories/screen-tickets.ts';
import type { ScreenTicketRow } from '../db/schema.ts';
import type { Machines, RunningMachines } from '../machines/machines.ts';
import type { Access } from './access.ts';
import { DomainError } from './errors.ts';
import type { Instances } from './instances.ts';

export const screenKinds = ['screen', 'console'] as const;
export type ScreenKind = ScreenTicketRow['kind'];

export interface ScreenTicket {
  readonly ticket: string;
  readonly expiresAtMs: number;
}

/** What a serial port said, as it was when it was asked for. */
export interface SerialLog extends ByteSource {
  /** How many bytes came before the first that is kept. */
  readonly startBytes: number;
}

interface ScreenParts {
  readonly database: Database;
  readonly access: Access;
  readonly instances: Instances;
  readonly machines: Machines;
}

/** A browser opens the connection at once. */
const TICKET_MS = 60_000;
const TICKET_BYTES = 32;

/** What is seen of instances and said to them: screens, consoles, what the serial port said. */
export class Screens {
  readonly #parts: ScreenParts;

  constructor(parts: ScreenParts) {
    this.#parts = parts;
  }

  /** Lets whoever has it open this once within a minute, as the principal. Throws NOT_FOUND, FORBIDDEN. */
  async ticket(principal: Principal, instanceId: string, kind: ScreenKind): Promise<ScreenTicket> {
    const { database, instances } = this.#parts;
    await instances.requireRow(principal, instanceId, 'use');
    const nowMs = Date.now();
    await forgetScreenTickets(database.kysely, nowMs);
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    const expiresAtMs = nowMs + TICKET_MS;
    await insertScreenTicket(database.kysely, {
      ticket_sha256: hashOf(ticket),
      instance_id: instanceId,
      user_id: principal.userId,
      kind,
      expires_at_ms: expiresAtMs,
    });
    return { ticket, expiresAtMs };
  }

  /** Who gave this ticket out for this; undefined for any that is not for this, was used, or is too old. */
  async redeem(ticket: string, instanceId: string, kind: ScreenKind): Promise<Principal | undefined> {
    const { database, access } = this.#parts;
    const row = await takeScreenTicket(database.kysely, hashOf(ticket));
    if (row === undefined || row.expires_at_ms < Date.now()) return undefined;
    if (row.instance_id !== instanceId || row.kind !== kind) return undefined;
    return access.principalOf(row.user_id);
  }

  /**
   * A conversation with the screen (RFB) or the serial port, until either side ends it or the machine ends. Throws
   * NOT_FOUND, FORBIDDEN, and CONFLICT when the machine does not run, or others have the serial port.
   */
  async open(principal: Principal, instanceId: string, kind: ScreenKind): Promise<Duplex> {
    const { driver } = await this.#machine(principal, instanceId, 'use');
    const opened = kind === 'screen' ? driver.openScreen(instanceId) : driver.openConsole(instanceId);
    return opened.catch(asConflict);
  }

  /** Whether the principal may go on with a conversation: the user may be gone by now, or the grant. */
  async mayGoOn(principal: Principal, instanceId: string): Promise<boolean> {
    const { access, instances } = this.#parts;
    const now = await access.principalOf(principal.userId);
    if (now === undefined) return false;
    try {
      await instances.requireRow(now, instanceId, 'use');
      return true;
    } catch (error) {
      if (error instanceof DomainError) return false;
      throw error;
    }
  }

  /** PNG. Throws as `open`. */
  async screenshot(principal: Principal, instanceId: string): Promise<Uint8Array> {
    const { driver } = await this.#machine(principal, instanceId, 'read');
    return driver.screenshot(instanceId).catch(asConflict);
  }

  /** What the serial port said since the last start, the newest part of very much. Throws NOT_FOUND, FORBIDDEN, CONFLICT. */
  async serialLog(principal: Principal, instanceId: string): Promise<SerialLog> {
    const { driver } = await this.#machine(principal, instanceId, 'read');
    const console = await driver.console(instanceId);
    const { startBytes, lengthBytes } = console;
    return {
      startBytes,
      name: `serial log of ${instanceId}`,
      lengthBytes,
      async read(offsetBytes, into) {
        const bytes = await console.read(offsetBytes, into.length).catch(asConflict);
        if (bytes.length < into.length)
          throw new DomainError('CONFLICT', `the instance ${instanceId} was started anew meanwhile`);
        into.set(bytes);
      },
      async close() {},
    };
  }

  async #machine(principal: Principal, instanceId: string, verb: 'read' | 'use'): Promise<RunningMachines> {
    const row = await this.#parts.instances.requireRow(principal, instanceId, verb);
    const running = this.#parts.machines.require();
    if (row.deleted_at_ms === null && (await running.driver.list()).includes(instanceId)) return running;
    throw new DomainError(
      'CONFLICT',
      `the instance ${instanceId} has not been started: there is nothing to see`,
    );
  }
}

/** What the machine's state does not allow now. */
function asConflict(error: unknown): never {
  if (!(error instanceof StoreError && /^STORE_(?:REFUSED|CHANGED)$/.test(error.code))) throw error;
  throw new DomainError('CONFLICT', error.message, { hint: error.hint });
}

function hashOf(ticket: string): string {
  return createHash('sha256').update(ticket).digest('hex');
}
