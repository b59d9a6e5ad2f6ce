import { z } from 'zod';
import type { StoredObject } from '../../../domain/stored-object.ts';
import { fieldsOf } from './buckets.ts';

/** What ListObjects takes. */
export const objectListingQuery = z.object({
  prefix: z.string().optional(),
  start: z.string().optional(),
  startAfter: z.string().optional(),
  end: z.string().optional(),
  delimiter: z.string().optional(),
  fields: z.union([z.string(), z.array(z.string())]).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(1000),
});

/** What it answers: only names, and what `fields` asks for. */
export function objectListingBody(
  listed: {
    readonly objects: readonly StoredObject[];
    readonly prefixes: readonly string[];
    readonly next: string | undefined;
  },
  query: z.infer<typeof objectListingQuery>,
): object {
  const fields = fieldsOf(query.fields);
  return {
    objects: listed.objects.map((object) => summaryBody(object, fields)),
    ...(query.delimiter !== undefined && { prefixes: listed.prefixes }),
    ...(listed.next !== undefined && { nextStartWith: listed.next }),
  };
}

function summaryBody(object: StoredObject, fields: ReadonlySet<string>): object {
  const { storageTier = 'Standard', checksums, partChecksums } = object.attributes;
  const writtenAt = new Date(object.createdAtMs).toISOString();
  const all = {
    size: object.lengthBytes,
    etag: object.etag,
    md5: checksums?.md5 ?? partChecksums?.md5,
    timeCreated: writtenAt,
    timeModified: writtenAt,
    storageTier,
  };
  const asked = Object.entries(all).filter(([name]) => fields.has(name.toLowerCase()));
  return { name: object.key, ...Object.fromEntries(asked) };
}
