import { z } from 'zod';
import type { Job } from '../../../jobs/job.ts';
import { toOcid } from '../ocid.ts';
import { pageQuery } from '../pages.ts';

/** What most lists of the core services take. */
export const listQuery = pageQuery.extend({
  compartmentId: z.string(),
  displayName: z.string().optional(),
  sortBy: z.enum(['TIMECREATED', 'DISPLAYNAME']).default('TIMECREATED'),
  sortOrder: z.enum(['ASC', 'DESC']).optional(),
});

/** The same in the words of the domain. */
export function ordering(query: Pick<z.infer<typeof listQuery>, 'sortBy' | 'sortOrder'>): {
  readonly sortBy: 'time' | 'name';
  readonly order: 'asc' | 'desc' | undefined;
} {
  const { sortBy, sortOrder } = query;
  const order = sortOrder === undefined ? undefined : sortOrder === 'ASC' ? 'asc' : 'desc';
  return { sortBy: sortBy === 'TIMECREATED' ? 'time' : 'name', order };
}

export const displayName = z
  .string()
  .min(1)
  .max(255)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'a name has no control characters');

/** RFC 3339. */
export function time(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** MB are 1048576 bytes (OCI's reference, Image.sizeInMBs). */
export function megabytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}

export function gigabytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 30);
}

export function workRequestId(region: string, job: Job): string {
  return toOcid('coreservicesworkrequest', region, job.id);
}
