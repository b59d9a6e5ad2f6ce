import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { pino } from 'pino';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { findBucket, updateBucket } from '../db/repositories/buckets.ts';
import { deleteCompartment, insertCompartment } from '../db/repositories/compartments.ts';
import { insertImage, markImageDeleted } from '../db/repositories/images.ts';
import { compartmentRow, imageRow, makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
import { locksRows, type Queries } from '../db/transactions.ts';
import { JobQueue } from '../jobs/queue.ts';
import { Machines, machinePaths } from '../machines/machines.ts';
import { createManifest, deleteManifest } from '../vault/manifests.ts';
import { Vault } from '../vault/vault.ts';
import { Access } from './access.ts';
import { Buckets } from './buckets.ts';
import { CapabilitySchemas } from './capability-schemas.ts';
import { globalCapabilities } from './global-capabilities.ts';
import { HostQuota } from './host-quota.ts';
import { ImageImports } from './image-imports.ts';
import { ImageShapes } from './image-shapes.ts';
import { Images } from './images.ts';
import { Instances } from './instances.ts';
import { knownShapes } from './shapes.ts';
import { TagPolicy } from './tags.ts';
import { Volumes } from './volumes.ts';

/** What others do between the look at something and the writing of what refers to it. */
interface World {
  readonly database: Database;
  readonly principal: Principal;
  readonly compartmentId: string;
  readonly buckets: Buckets;
  readonly images: Images;
  readonly imports: ImageImports;
  readonly instances: Instances;
  readonly capabilitySchemas: CapabilitySchemas;
  /** Starts `second` while `first` is written and not committed yet; gives what comes of `second`. */
  during<Result>(
    first: (transaction: Queries) => Promise<unknown>,
    second: () => Promise<Result>,
  ): Promise<Result>;
}

function inWorld(name: string, body: (world: World) => Promise<void>): void {
  forEachEngine(name, async (open) => {
    const database = await open();
    const { id: tenancyId } = await makeTenancy(database.kysely);
    const { id: userId, role } = await makeUser(database.kysely, tenancyId);
    const principal = { userId, tenancyId, role };
    const compartment = compartmentRow(tenancyId, tenancyId, 'c');
    await insertCompartment(database.kysely, compartment);
    const access = new Access(database);
    const tags = new TagPolicy(database, access);
    const queue = new JobQueue(database);
    // Nothing is shown as a file here.
    const parts = { database, access, tags, queue, views: undefined as never, wake() {} };
    const images = new Images(parts);
    const imageShapes = new ImageShapes(database, images);
    const folder = await mkdtemp(join(tmpdir(), 'gantry-moments-'));
    const vault = await Vault.open({ folder: join(folder, 'vault'), database });
    const logger = pino({ level: 'silent' });
    const machines = await Machines.open({
      database,
      vault,
      logger,
      hypervisor: 'none',
      network: { kind: 'isolated' },
      ...machinePaths(folder),
    });
    const quota = new HostQuota();
    const volumes = new Volumes({ ...parts, images, machines, quota });
    const world: World = {
      database,
      principal,
      compartmentId: compartment.id,
      buckets: new Buckets(database, access, tags),
      images,
      imports: new ImageImports({ ...parts, images }),
      instances: new Instances({
        ...parts,
        volumes,
        imageShapes,
        shapes: knownShapes,
        machines,
        quota,
        graceMs: 0,
      }),
      capabilitySchemas: new CapabilitySchemas({ ...parts, images }),
      during: async (first, second) => {
        const { kysely } = database;
        const outcome = await kysely.transaction().execute(async (transaction) => {
          await first(transaction);
          const started = second();
          started.catch(() => {});
          await waitsOrEnds(kysely, started);
          return { started };
        });
        return outcome.started;
      },
    };
    try {
      await body(world);
    } finally {
      await machines.close();
      await vault.close();
      await rm(folder, { recursive: true });
    }
  });
}

/** On SQLite, which has one writer, everything waits by itself. */
async function waitsOrEnds(queries: Queries, started: Promise<unknown>): Promise<void> {
  if (!locksRows(queries)) return;
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  started.then(over, over);
  while (!isOver) {
    const waiting = await sql`SELECT 1 FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'`.execute(queries);
    if (waiting.rows.length > 0) return;
  }
}

const absent = { code: 'NOT_FOUND', message: /there is no/ };

inWorld('nothing is put into a compartment that is deleted in that moment', async (world) => {
  const { database, principal, compartmentId, buckets, images, imports, capabilitySchemas, during } = world;
  const { kysely } = database;
  const { tenancyId } = principal;
  const image = imageRow(tenancyId, (await createManifest(kysely, 512)).id);
  await insertImage(kysely, image);
  await buckets.create(principal, { name: 'here' });
  const puts: readonly (() => Promise<unknown>)[] = [
    () => buckets.create(principal, { name: 'there', compartmentId }),
    () => buckets.update(principal, 'here', { compartmentId }),
    () => images.move(principal, image.id, compartmentId),
    () => imports.start(principal, { name: 'i', compartmentId, source: { kind: 'stream' } }),
    () =>
      capabilitySchemas.create(principal, {
        compartmentId,
        imageId: image.id,
        globalVersionName: globalCapabilities.versionName,
        data: {},
      }),
  ];
  for (const put of puts) {
    await assert.rejects(
      during((transaction) => deleteCompartment(transaction, compartmentId, 5), put),
      absent,
      String(put),
    );
    await kysely.updateTable('compartments').set({ deleted_at_ms: null }).execute();
  }
  assert.equal((await images.get(principal, image.id)).compartmentId, tenancyId);
  assert.deepEqual(
    (await buckets.list({ principal, limit: 9 })).items.map(({ name }) => name),
    ['here'],
  );
});

inWorld('an image that is deleted and collected while it is launched is not there', async (world) => {
  const { database, principal, instances, images, during } = world;
  const { kysely } = database;
  const { tenancyId } = principal;
  const { id: manifestId } = await createManifest(kysely, 512);
  const image = imageRow(tenancyId, manifestId);
  await insertImage(kysely, image);
  const launch = () =>
    instances.launch(principal, {
      compartmentId: tenancyId,
      availabilityDomain: 'ad',
      source: { kind: 'image', imageId: image.id },
      metadata: {},
    });
  const collect = async (transaction: Queries) => {
    await markImageDeleted(transaction, tenancyId, image.id, 5);
    await deleteManifest(transaction, manifestId);
  };
  await assert.rejects(during(collect, launch), absent);
  assert.equal((await instances.list(principal, { limit: 9 })).items.length, 0);
  assert.equal((await images.get(principal, image.id)).state, 'deleted');
});

inWorld('of two buckets that get one name at once, one does', async ({ database, principal, ...world }) => {
  const { buckets, during } = world;
  await buckets.create(principal, { name: 'one' });
  await buckets.create(principal, { name: 'two' });
  const first = async (transaction: Queries) => {
    const row = await findBucket(transaction, principal.tenancyId, 'one');
    if (row !== undefined) await updateBucket(transaction, { ...row, name: 'new' });
  };
  await assert.rejects(
    during(first, () => buckets.update(principal, 'two', { name: 'new' })),
    { code: 'CONFLICT', message: 'there is a bucket new already', subject: 'bucket' },
  );
  assert.equal((await findBucket(database.kysely, principal.tenancyId, 'two'))?.name, 'two');
});

inWorld(
  'a bucket that was changed since is not deleted',
  async ({ principal, buckets, during, database }) => {
    const { etag: ifMatch } = await buckets.create(principal, { name: 'one' });
    const first = async (transaction: Queries) => {
      const row = await findBucket(transaction, principal.tenancyId, 'one');
      if (row !== undefined) await updateBucket(transaction, { ...row, version: 2 });
    };
    await assert.rejects(
      during(first, () => buckets.delete(principal, 'one', [ifMatch])),
      { code: 'PRECONDITION_FAILED' },
    );
    assert.ok(await findBucket(database.kysely, principal.tenancyId, 'one'));
  },
);
