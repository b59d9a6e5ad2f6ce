import { StoreError } from '@gantry/disk';
import type { models } from 'oci-core';
import type { OciClients } from './clients.ts';
import { isNotFound } from './refusal.ts';

/** What an import needs to know of an instance: the one step that VirtualBox calls `getInstanceInfo`. */
export interface InstanceFacts {
  readonly id: string;
  readonly name: string;
  readonly compartmentId: string;
  readonly availabilityDomain: string;
  readonly lifecycleState: string;
  readonly shape: string;
  /** Virtual CPUs; absent when OCI does not say. */
  readonly cpuCount?: number;
  readonly memoryBytes?: number;
  readonly architecture: 'x86_64' | 'aarch64';
  /** `BIOS` or `UEFI_64`, as the instance was launched. */
  readonly firmware?: string;
  readonly imageId?: string;
  readonly operatingSystem?: string;
  readonly operatingSystemVersion?: string;
  readonly bootVolumeId: string;
  readonly bootVolumeBytes: number;
}

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Reads what there is to know. Throws STORE_NOT_FOUND when there is no such instance, or it has no boot volume. */
export async function readInstance(clients: OciClients, instanceId: string): Promise<InstanceFacts> {
  const { instance } = await clients.call(() => clients.compute.getInstance({ instanceId }));
  if (instance.lifecycleState === 'TERMINATED' || instance.lifecycleState === 'TERMINATING') {
    throw new StoreError('STORE_NOT_FOUND', `the instance is ${instance.lifecycleState}`, {
      where: instanceId,
      hint: 'its boot volume may still be there: launch an instance from it, and import that',
    });
  }
  const volume = await bootVolume(clients, instance);
  const image = await imageOf(clients, instance);
  return factsOf(instance, volume, image);
}

async function bootVolume(clients: OciClients, instance: models.Instance): Promise<models.BootVolume> {
  const { id, availabilityDomain, compartmentId } = instance;
  const { items } = await clients.call(() =>
    clients.compute.listBootVolumeAttachments({ availabilityDomain, compartmentId, instanceId: id }),
  );
  const attached = items.find(({ lifecycleState }) => lifecycleState === 'ATTACHED') ?? items[0];
  if (attached === undefined) {
    throw new StoreError('STORE_NOT_FOUND', 'the instance has no boot volume', {
      where: id,
      hint: 'attach its boot volume to it, then try again',
    });
  }
  const { bootVolume } = await clients.call(() =>
    clients.volumes.getBootVolume({ bootVolumeId: attached.bootVolumeId }),
  );
  return bootVolume;
}

/** The image may be gone since the launch: then the archive says what the machine needs. */
async function imageOf(
  clients: OciClients,
  { imageId, sourceDetails }: models.Instance,
): Promise<models.Image | undefined> {
  const source = sourceDetails as { readonly sourceType?: string; readonly imageId?: string } | undefined;
  const id = imageId ?? source?.imageId;
  if (id === undefined) return undefined;
  try {
    return (await clients.call(() => clients.compute.getImage({ imageId: id }))).image;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function factsOf(
  instance: models.Instance,
  volume: models.BootVolume,
  image: models.Image | undefined,
): InstanceFacts {
  const { shape, shapeConfig } = instance;
  const architecture = /\.(?:Generic\.)?A\d+(?:\.|$)/.test(shape) ? 'aarch64' : 'x86_64';
  // One OCPU is a core: of two threads on x86, of one on Arm ("Compute Shapes", Oracle).
  const threads = architecture === 'x86_64' ? 2 : 1;
  const { ocpus, vcpus, memoryInGBs } = shapeConfig ?? {};
  const cpuCount = vcpus ?? (ocpus === undefined ? undefined : Math.ceil(ocpus * threads));
  const firmware = instance.launchOptions?.firmware ?? image?.launchOptions?.firmware;
  return {
    id: instance.id,
    name: instance.displayName || 'instance',
    compartmentId: instance.compartmentId,
    availabilityDomain: instance.availabilityDomain,
    lifecycleState: instance.lifecycleState,
    shape,
    architecture,
    bootVolumeId: volume.id,
    bootVolumeBytes: volume.sizeInMBs * MIB,
    ...(cpuCount !== undefined && { cpuCount }),
    ...(memoryInGBs !== undefined && { memoryBytes: Math.round(memoryInGBs * GIB) }),
    ...(firmware !== undefined && { firmware }),
    ...(image !== undefined && {
      imageId: image.id,
      operatingSystem: image.operatingSystem,
      operatingSystemVersion: image.operatingSystemVersion,
    }),
  };
}
