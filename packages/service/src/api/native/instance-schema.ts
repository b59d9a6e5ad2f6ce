import { z } from 'zod';
import { instanceStateNames } from '../../domain/instance.ts';
import type { Instance } from '../../domain/instances.ts';
import type { AttachmentChange } from '../../domain/volume-attachments.ts';
import type { Volume, VolumeAttachment } from '../../domain/volumes.ts';
import { jobBody, toJobBody } from './job-schema.ts';

const tags = {
  freeformTags: z.record(z.string(), z.string()),
  definedTags: z.json(),
};

export const instanceBody = z.object({
  id: z.string(),
  name: z.string(),
  state: z.enum(instanceStateNames),
  stateReason: z.string().nullable().describe('Why it is stopped, or paused, where that is known'),
  jobId: z.string().nullable().describe('The job that works on it now'),
  compartmentId: z.string(),
  availabilityDomain: z.string(),
  shape: z.string(),
  shapeConfig: z.object({ ocpus: z.number(), memoryInGBs: z.number() }),
  cpuCount: z.number().int(),
  memoryBytes: z.number().int(),
  imageId: z.string().nullable(),
  launchMode: z.string().nullable(),
  launchOptions: z.json().describe('Devices and firmware, in the words of OCI'),
  metadata: z.record(z.string(), z.string()),
  ...tags,
  createdAtMs: z.number().int(),
});

export const attachedVolumeBody = z.object({
  attachmentId: z.string(),
  volumeId: z.string(),
  kind: z.enum(['boot', 'block']),
  state: z.enum(['attaching', 'attached', 'detaching', 'detached']),
});
export const attachmentJobBody = z.object({
  attachment: attachedVolumeBody,
  job: jobBody.nullable().describe('Null where it is done already'),
});
export const instanceWithVolumesBody = instanceBody.extend({
  volumes: z.array(attachedVolumeBody).describe('What it starts from first'),
});
export const startedInstanceJobBody = z.object({ instance: instanceBody, job: jobBody });

export const volumeBody = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.enum(['boot', 'block']),
  state: z.enum(['available', 'deleted']),
  compartmentId: z.string(),
  availabilityDomain: z.string(),
  sizeBytes: z.number().int(),
  imageId: z.string().nullable(),
  isFilled: z.boolean().describe('Whether it needs nothing of the vault'),
  instanceId: z.string().nullable().describe('The instance that has it'),
  ...tags,
  createdAtMs: z.number().int(),
});

export function toInstanceBody(instance: Instance): z.infer<typeof instanceBody> {
  const { stateReason, jobId, imageId, launchMode, launchOptions, tags: own } = instance;
  return instanceBody.parse({
    ...instance,
    stateReason: stateReason ?? null,
    jobId: jobId ?? null,
    imageId: imageId ?? null,
    launchMode: launchMode ?? null,
    launchOptions: launchOptions ?? null,
    freeformTags: own.freeform,
    definedTags: own.defined,
  });
}

export function toAttachedVolumeBody({
  id,
  volumeId,
  kind,
  state,
}: VolumeAttachment): z.infer<typeof attachedVolumeBody> {
  return { attachmentId: id, volumeId, kind, state };
}

export function toAttachmentJobBody({
  attachment,
  job,
}: AttachmentChange): z.infer<typeof attachmentJobBody> {
  return {
    attachment: toAttachedVolumeBody(attachment),
    job: job === undefined ? null : toJobBody(job),
  };
}

export function toVolumeBody(volume: Volume, instanceId: string | undefined): z.infer<typeof volumeBody> {
  return volumeBody.parse({
    ...volume,
    imageId: volume.imageId ?? null,
    instanceId: instanceId ?? null,
    freeformTags: volume.tags.freeform,
    definedTags: volume.tags.defined,
  });
}
