import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import {
  type ConsoleHistoryListing,
  type ConsoleHistorySummary,
  countConsoleHistories,
  deleteConsoleHistory,
  findConsoleHistory,
  insertConsoleHistory,
  listConsoleHistories,
  readConsoleHistory,
} from '../db/repositories/console-histories.ts';
import { lockInstance } from '../db/repositories/instances.ts';
import type { GrantVerb } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { noCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import type { Instances } from './instances.ts';
import type { EtagList } from './object-conditions.ts';
import type { Screens } from './screens.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { etagOfVersion, requireVersion } from './versions.ts';

/** What a serial port had said at one time. */
export interface ConsoleHistory {
  readonly id: string;
  readonly compartmentId: string;
  readonly instanceId: string;
  readonly availabilityDomain: string;
  readonly name: string;
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

interface ConsoleHistoryParts {
  readonly database: Database;
  readonly access: Access;
  readonly tags: TagPolicy;
  readonly instances: Instances;
  readonly screens: Screens;
}

/** "up to a megabyte" of the most recent output (OCI's reference, CaptureConsoleHistory). */
const CONTENT_BYTES_MAX: number = 1024 * 1024;
/** Of one instance: they stand in the catalogue. */
const HISTORIES_MAX = 64;

/** Keeps what serial ports said when somebody asks for it. */
export class ConsoleHistories {
  readonly #parts: ConsoleHistoryParts;

  constructor(parts: ConsoleHistoryParts) {
    this.#parts = parts;
  }

  /** Throws NOT_FOUND, FORBIDDEN, CONFLICT for an instance that was never started, and QUOTA. */
  async capture(
    principal: Principal,
    request: {
      readonly instanceId: string;
      readonly name?: string | undefined;
      readonly tags?: Partial<Tags> | undefined;
    },
  ): Promise<ConsoleHistory> {
    const { database, tags, instances, screens } = this.#parts;
    const instance = await instances.requireRow(principal, request.instanceId, 'use');
    const checked = await tags.check(principal, request.tags ?? {});
    const log = await screens.serialLog(principal, request.instanceId);
    const content = new Uint8Array(Math.min(CONTENT_BYTES_MAX, log.lengthBytes));
    await log.read(log.lengthBytes - content.length, content);
    const id = newId('coh');
    const row = {
      id,
      tenancy_id: instance.tenancy_id,
      compartment_id: instance.compartment_id,
      instance_id: instance.id,
      name: request.name ?? `console-history-${id.slice(-8)}`,
      availability_domain: instance.availability_domain,
      ...tagColumns(checked),
      version: 1,
      created_at_ms: Date.now(),
    };
    await inTransaction(database.kysely, async (transaction) => {
      await lockInstance(transaction, principal.tenancyId, instance.id);
      if ((await countConsoleHistories(transaction, instance.id)) >= HISTORIES_MAX)
        throw new DomainError('QUOTA', `the instance ${instance.id} has ${HISTORIES_MAX} console histories`, {
          hint: 'delete some of them',
        });
      await insertConsoleHistory(transaction, { ...row, content });
    });
    return toHistory(row);
  }

  /** Throws NOT_FOUND. */
  async list(
    principal: Principal,
    listing: Omit<ConsoleHistoryListing, 'tenancyId'>,
  ): Promise<Page<ConsoleHistory>> {
    const { access, database } = this.#parts;
    const { compartmentId } = listing;
    await access.require(principal, 'inspect', 'instances', compartmentId, () =>
      noCompartment(compartmentId),
    );
    const { tenancyId } = principal;
    const { items, next } = await listConsoleHistories(database.kysely, { ...listing, tenancyId });
    return { items: items.map(toHistory), next };
  }

  /** Throws NOT_FOUND, FORBIDDEN. */
  async get(principal: Principal, id: string): Promise<ConsoleHistory> {
    return toHistory(await this.#row(principal, id, 'inspect'));
  }

  /** Part of what was said, and how much comes behind it. Throws NOT_FOUND, FORBIDDEN. */
  async content(
    principal: Principal,
    id: string,
    { offsetBytes, lengthBytes }: { readonly offsetBytes: number; readonly lengthBytes: number },
  ): Promise<{ readonly bytes: Uint8Array; readonly remainingBytes: number }> {
    await this.#row(principal, id, 'read');
    const content = (await readConsoleHistory(this.#parts.database.kysely, id)) ?? new Uint8Array(0);
    const bytes = content.subarray(offsetBytes, offsetBytes + lengthBytes);
    return { bytes, remainingBytes: Math.max(0, content.length - offsetBytes - bytes.length) };
  }

  /** Throws NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED. */
  async delete(principal: Principal, id: string, ifMatch?: EtagList): Promise<void> {
    const row = await this.#row(principal, id, 'use');
    requireVersion(ifMatch, row.version);
    await deleteConsoleHistory(this.#parts.database.kysely, id);
  }

  async #row(principal: Principal, id: string, verb: GrantVerb): Promise<ConsoleHistorySummary> {
    const absent = () => new DomainError('NOT_FOUND', `there is no console history ${id}`);
    const row = await findConsoleHistory(this.#parts.database.kysely, principal.tenancyId, id);
    if (row === undefined) throw absent();
    await this.#parts.access.demand(principal, verb, 'instances', row.compartment_id, absent);
    return row;
  }
}

function toHistory(row: ConsoleHistorySummary): ConsoleHistory {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    instanceId: row.instance_id,
    availabilityDomain: row.availability_domain,
    name: row.name,
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}
