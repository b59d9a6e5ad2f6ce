import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { storeError } from '@gantry/disk';
import { openFolderStore } from '@gantry/storage';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { makeMetrics } from './api/native/metrics.ts';
import { nativeApi } from './api/native/server.ts';
import { bySignature, readKeyId } from './api/oci/authentication.ts';
import { ociComputeRoutes } from './api/oci/compute/compute.ts';
import { ociIdentityRoutes } from './api/oci/identity.ts';
import { objectStorageRoutes } from './api/oci/object-storage/routes.ts';
import { openParRoutes } from './api/oci/pars.ts';
import { ociApi } from './api/oci/server.ts';
import { realmApi } from './api/realm/server.ts';
import { ensureFirstStart } from './auth/first-start.ts';
import { OciSignatures } from './auth/oci/verifier.ts';
import { verifyToken } from './auth/tokens.ts';
import { writeClientProfile } from './client-profile.ts';
import { type Compute, makeCompute } from './compute.ts';
import { openDataFolder } from './data-folder.ts';
import { type Database, openDatabase } from './db/database.ts';
import { countJobsByState } from './db/repositories/jobs.ts';
import { Access } from './domain/access.ts';
import { ApiKeys } from './domain/api-keys.ts';
import { Compartments } from './domain/compartments.ts';
import { Grants } from './domain/grants.ts';
import { Jobs } from './domain/jobs.ts';
import { makeRegion, type Region } from './domain/region.ts';
import { parseShapes, type Shape } from './domain/shapes.ts';
import { StoredBytes } from './domain/stored-bytes.ts';
import { TagNamespaces } from './domain/tag-namespaces.ts';
import { TagPolicy } from './domain/tags.ts';
import { Tenancies } from './domain/tenancies.ts';
import { deleteUnneededBytes, requireCatalogueOf } from './domain/unneeded-bytes.ts';
import { Users } from './domain/users.ts';
import { vaultBlockLists } from './domain/vault-block-list.ts';
import { VaultJobs, vaultCheckHandler, vaultGcHandler } from './domain/vault-jobs.ts';
import { ImageViews } from './domain/views.ts';
import { Idempotency } from './jobs/idempotency.ts';
import { jobLanes } from './jobs/lanes.ts';
import { JobQueue } from './jobs/queue.ts';
import { type ListenAddress, notToBeHad, parseListeners, reachableAddress } from './listen.ts';
import { parseInstanceNetwork } from './machines/instance-network.ts';
import { Machines, machinePaths } from './machines/machines.ts';
import { makeObjectStorage } from './object-storage.ts';
import type { RunningService, ServeOptions } from './settings.ts';
import { findManifest } from './vault/manifests.ts';
import { Vault } from './vault/vault.ts';

export type { RunningService, ServeOptions } from './settings.ts';

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as {
  version: string;
};

/**
 * Starts the service on a data folder: the one place where its parts are wired. Throws StoreError when the
 * folder or the address is not to be had; then nothing runs.
 */
export async function serve(options: ServeOptions): Promise<RunningService> {
  const listen = parseListeners(options.listen);
  const region = await readRegion(options);
  const network = parseInstanceNetwork(options.instanceNetwork ?? 'isolated');
  const logger = pino({ level: options.logLevel ?? 'info' }, pino.destination({ dest: 2, sync: true }));
  const closers: (() => Promise<unknown>)[] = [];
  const closeAll = async () => {
    const failures: unknown[] = [];
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) {
      await close().catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  };
  try {
    const folder = await openDataFolder(options.dataFolder);
    closers.push(() => folder.release());
    const database = await openDatabase(options.database ?? folder.databaseFile);
    closers.push(() => database.close());
    const store = await openFolderStore(folder.objects);
    // By a database that is not this folder's every object would be one too many: both of these refuse one.
    await requireCatalogueOf(store, database);
    const vault = await Vault.open({ folder: folder.vault, database });
    closers.push(() => vault.close());
    const removed = await deleteUnneededBytes(database, store);
    if (removed > 0) logger.info({ removed }, 'removed bytes that an interruption left behind');

    const views = new ImageViews(vault);
    closers.push(() => views.forget());
    const bytes = new StoredBytes(store, logger);
    const access = new Access(database);
    const tagPolicy = new TagPolicy(database, access);
    const compartments = new Compartments(database, access, tagPolicy);
    const users = new Users(database, access);
    const identity = {
      region,
      compartments,
      users,
      tenancies: new Tenancies(database, access),
      apiKeys: new ApiKeys(database, users),
      grants: new Grants(database, users),
    };
    const queue = new JobQueue(database);
    const storage = makeObjectStorage({
      database,
      access,
      tags: tagPolicy,
      bytes,
      queue,
      region,
      images: {
        open: (spec, manifestId) => views.open(manifestId, spec),
        openBlocks: vaultBlockLists(database),
        diskDigest: async (manifestId) =>
          (await findManifest(database.kysely, manifestId))?.disk_digest ?? undefined,
      },
    });
    const machines = await Machines.open({
      database,
      vault,
      logger,
      hypervisor: options.hypervisor ?? 'qemu',
      network,
      ...machinePaths(folder.path),
    });
    closers.push(() => machines.close());
    const compute: Compute = makeCompute({
      database,
      machines,
      hostLimits: options.instanceLimits ?? {},
      graceMs: options.instanceGraceMs,
      vault,
      views,
      bytes,
      queue,
      access,
      tags: tagPolicy,
      objects: storage.objects,
      pars: storage.pars,
      region,
      allowNetworks: options.allowNetworks ?? [],
      imageSizeMaxBytes: options.imageSizeMaxBytes,
      shapes: await readShapes(options.shapesFile),
      wake: () => runner.wake(),
    });
    const runner = jobLanes({ queue, logger }, [
      {
        handlers: {
          ...compute.handlers,
          ...storage.handlers,
          'vault-check': vaultCheckHandler(vault),
          'vault-gc': vaultGcHandler(vault, views, database),
        },
      },
      ...compute.lanes,
    ]);
    const jobs = new Jobs(queue, access, compute.permitRetry);
    const idempotency = new Idempotency(database.kysely);
    await idempotency.forgetUnanswered();
    const oci = await ociApi({
      logger,
      region: region.name,
      authenticate: bySignature(new OciSignatures(database.kysely, readKeyId)),
      signedRoutes: [
        ociComputeRoutes({ ...compute, region, jobs, idempotency }),
        ociIdentityRoutes({
          ...identity,
          tagNamespaces: new TagNamespaces(database, access, compartments, tagPolicy),
          idempotency,
        }),
        objectStorageRoutes({
          ...storage,
          region: region.name,
          tenancies: identity.tenancies,
          jobs,
        }),
      ],
      openRoutes: [openParRoutes(storage)],
    });
    closers.push(() => closeServer(oci));
    const realm = await realmApi({ logger, region, copies: storage.incomingCopies });
    closers.push(() => closeServer(realm));
    const app = await nativeApi({
      version,
      logger,
      verifyToken: (token) => verifyToken(database.kysely, token),
      ...storage,
      ...compute,
      region,
      idempotency,
      jobs,
      vaultJobs: new VaultJobs(queue, access),
      identity,
      dialects: { '/oci': oci, '/realm': realm },
      metrics: makeMetrics(() => countJobsByState(database.kysely)),
      ready: () => requireUsable(database),
    });
    closers.push(() => closeServer(app));
    const address = await answerAt(app, listen.main);
    const ociEndpoint = listen.oci === undefined ? `${address}/oci` : await answerAt(oci, listen.oci);
    await ensureFirstStart(database.kysely, (token) => writeClientProfile(folder.profile, address, token));
    await writeClientProfile(folder.profile, address, undefined);
    closers.push(() => runner.stop());
    await runner.start();
    const tidying = setInterval(
      () => void tidy(idempotency, compute).catch((err) => logger.warn({ err }, 'tidying failed')),
      3_600_000,
    );
    closers.push(async () => clearInterval(tidying));
    logger.info(
      { address, ociEndpoint, region: region.name, dataFolder: folder.path, version },
      'the service answers',
    );
    let stopping: Promise<void> | undefined;
    const stop = () => {
      // Asked twice, it stops once: what is closed next waits for what is closed now.
      stopping ??= closeAll();
      return stopping;
    };
    return { address, ociEndpoint, profilePath: folder.profile, stop };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function readShapes(file: string | undefined): Promise<readonly Shape[] | undefined> {
  if (file === undefined) return undefined;
  const text = await readFile(file, 'utf8').catch((error) => {
    throw storeError(error, file);
  });
  return parseShapes(text);
}

async function readRegion({ region, peers, realmKeyFile }: ServeOptions): Promise<Region> {
  const realmKey =
    realmKeyFile === undefined
      ? undefined
      : await readFile(realmKeyFile).catch((error) => {
          throw storeError(error, realmKeyFile);
        });
  return makeRegion({ name: region, peers, realmKey });
}

/** Opens the listener; gives the address that clients on this machine reach it by. Throws StoreError. */
async function answerAt(app: FastifyInstance, listen: ListenAddress): Promise<string> {
  await app.listen(listen).catch((error) => {
    throw notToBeHad(listen, error);
  });
  return reachableAddress(listen, app.server.address());
}

/** What a request in flight gets to finish before its connection is cut. */
const GRACE_MS = 10_000;

async function closeServer(app: FastifyInstance): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
  // A connection may become idle only now, when the rest of a refused upload was read.
  const idle = setInterval(() => app.server.closeIdleConnections(), 50);
  await app.close();
  clearInterval(idle);
  clearTimeout(cut);
}

async function tidy(idempotency: Idempotency, compute: Compute): Promise<void> {
  await idempotency.forgetOld();
  await compute.tidy();
}

async function requireUsable(database: Database): Promise<void> {
  await database.kysely.selectFrom('tenancies').select('id').limit(1).execute();
}
