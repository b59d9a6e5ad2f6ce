import { guardedSend } from '@gantry/storage';
import type { Database } from './db/database.ts';
import { findUser } from './db/repositories/tenancies.ts';
import type { Access } from './domain/access.ts';
import { Buckets } from './domain/buckets.ts';
import { COPY_JOB, Copies } from './domain/copies.ts';
import { copyHandler } from './domain/copy-job.ts';
import { IncomingCopies } from './domain/incoming-copies.ts';
import { ObjectReader, type ShownImages } from './domain/object-reader.ts';
import { Objects } from './domain/objects.ts';
import { PreAuthenticatedRequests } from './domain/pars.ts';
import { peerHosts, type Region } from './domain/region.ts';
import type { StoredBytes } from './domain/stored-bytes.ts';
import type { TagPolicy } from './domain/tags.ts';
import { Uploads } from './domain/uploads.ts';
import type { JobHandlers } from './jobs/handler.ts';
import type { JobQueue } from './jobs/queue.ts';

export interface ObjectStorageParts {
  readonly database: Database;
  readonly access: Access;
  readonly tags: TagPolicy;
  readonly bytes: StoredBytes;
  readonly queue: JobQueue;
  readonly region: Region;
  readonly images: ShownImages;
}

/** What the APIs need of buckets and what is in them, and the jobs that belong to it. */
export interface ObjectStorage {
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly pars: PreAuthenticatedRequests;
  readonly copies: Copies;
  readonly incomingCopies: IncomingCopies;
  readonly handlers: JobHandlers;
}

export function makeObjectStorage(parts: ObjectStorageParts): ObjectStorage {
  const { database, access, bytes, region } = parts;
  const reader = new ObjectReader(database, bytes, parts.images);
  const objects = new Objects(database, access, bytes, reader);
  const uploads = new Uploads(database, access, bytes);
  return {
    buckets: new Buckets(database, access, parts.tags),
    objects,
    uploads,
    pars: new PreAuthenticatedRequests(database, access),
    copies: new Copies(parts),
    incomingCopies: new IncomingCopies({ database, objects, uploads, bytes }),
    handlers: {
      [COPY_JOB]: copyHandler({
        ...parts,
        reader,
        objects,
        // The operator named these addresses: wherever they lead, they are meant.
        send: guardedSend({ allow: peerHosts(region) }),
        userNameOf: async (userId) => (await findUser(database.kysely, userId))?.name ?? '',
      }),
    },
  };
}
