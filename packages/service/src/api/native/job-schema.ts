import { z } from 'zod';
import type { Job, JobLogLine } from '../../jobs/job.ts';
import { jobView } from '../../jobs/job.ts';

export const jobStates = ['queued', 'running', 'succeeded', 'failed', 'canceled'] as const;

export const jobBody = z.object({
  id: z.string(),
  kind: z.string().describe('image-import, image-export, image-capture, vault-gc and others'),
  state: z.enum(jobStates),
  phase: z.string().describe('What it does now, or did last'),
  cancelRequested: z.boolean(),
  input: z.json(),
  result: z.json().describe('Of a job that succeeded, else null'),
  error: z
    .object({ code: z.string(), message: z.string(), hint: z.string().nullable() })
    .nullable()
    .describe('Of a job that failed, else null'),
  doneBytes: z.number().int().describe('Of this phase'),
  totalBytes: z.number().int().nullable().describe('Of this phase; null while unknown'),
  bytesPerSecond: z.number().nullable().describe('While it runs, else null'),
  attempt: z.number().int(),
  userId: z.string().nullable(),
  createdAtMs: z.number().int(),
  startedAtMs: z.number().int().nullable(),
  updatedAtMs: z.number().int(),
  finishedAtMs: z.number().int().nullable(),
  compartmentId: z.string().nullable().describe('Where it belongs'),
  percentDone: z.number().int().describe('Of the whole job, over all of its phases'),
});

export const jobLogBody = z.array(
  z.object({
    id: z.number().int(),
    atMs: z.number().int(),
    level: z.enum(['info', 'warning', 'error']),
    message: z.string(),
  }),
);

export const jobWithLogBody = jobBody.extend({ log: jobLogBody });
export const startedJobBody = z.object({ job: jobBody });

export function toJobBody(job: Job): z.infer<typeof jobBody> {
  return jobBody.parse(jobView(job));
}

export function toJobWithLogBody(job: Job, log: readonly JobLogLine[]): z.infer<typeof jobWithLogBody> {
  return { ...toJobBody(job), log: [...log] };
}
