import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { liveJobs } from '../db/repositories/jobs.ts';
import type { JobHandler } from '../jobs/handler.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { JsonValue } from '../json.ts';
import type { Vault } from '../vault/vault.ts';
import type { Access } from './access.ts';
import type { ImageViews } from './views.ts';

const checkInput = z.object({ data: z.boolean() });
/** Where import and export jobs name the manifest that they need. */
const manifestHolder = z.object({
  manifestId: z.string().optional(),
  /** Of jobs with several disks. */
  manifestIds: z.array(z.string()).optional(),
});

/** The vault's upkeep as jobs. It serves all tenancies, so only the operator starts it. */
export class VaultJobs {
  readonly #queue: JobQueue;
  readonly #access: Access;

  constructor(queue: JobQueue, access: Access) {
    this.#queue = queue;
    this.#access = access;
  }

  startCheck(principal: Principal, data: boolean): Promise<Job> {
    return this.#start(principal, 'vault-check', { data });
  }

  startGc(principal: Principal): Promise<Job> {
    return this.#start(principal, 'vault-gc', {});
  }

  async #start(principal: Principal, kind: string, input: JsonValue): Promise<Job> {
    const { tenancyId, userId } = principal;
    await this.#access.requireOperator(
      principal,
      'only administrators of the first tenancy look after the vault',
    );
    return this.#queue.create({ tenancyId, userId, kind, input });
  }
}

export function vaultCheckHandler(vault: Vault): JobHandler {
  return async (context) => {
    const { data } = checkInput.parse(context.input);
    await context.phase(data ? 'check data' : 'check', vault.usage().storedBytes);
    const report = await vault.check({
      data,
      signal: context.signal,
      onProgress: ({ phase, done }) => {
        if (phase === 'segments') context.progress(done);
      },
    });
    for (const finding of report.findings) context.log('warning', `${finding.where}: ${finding.what}`);
    const { findings, ...counts } = report;
    return { ...counts, findings: findings.map((finding) => ({ ...finding })) };
  };
}

export function vaultGcHandler(vault: Vault, views: ImageViews, database: Database): JobHandler {
  return async (context) => {
    await context.phase('gc');
    await views.forget();
    const report = await vault.gc({ signal: context.signal, manifestsInUse: () => manifestsInUse(database) });
    context.log('info', `${report.blockCount} blocks removed, ${report.freedBytes} bytes freed`);
    return { ...report };
  };
}

/** Manifests of imports and exports that are not over. */
async function manifestsInUse(database: Database): Promise<string[]> {
  const manifestIds: string[] = [];
  for (const job of await liveJobs(database.kysely)) {
    for (const json of [job.input_json, job.checkpoint_json]) {
      const holder = manifestHolder.safeParse(json === null ? null : JSON.parse(json));
      if (!holder.success) continue;
      const { manifestId, manifestIds: several = [] } = holder.data;
      manifestIds.push(...several);
      if (manifestId !== undefined) manifestIds.push(manifestId);
    }
  }
  return manifestIds;
}
