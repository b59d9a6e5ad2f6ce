import { z } from 'zod';

/** What may be chosen at launch: one entry of a capability schema. */
export const capabilityDescriptor = z.discriminatedUnion('descriptorType', [
  z.object({
    source: z.enum(['GLOBAL', 'IMAGE']),
    descriptorType: z.literal('enumstring'),
    values: z.array(z.string().min(1).max(255)).max(100),
    defaultValue: z.string().optional(),
  }),
  z.object({
    source: z.enum(['GLOBAL', 'IMAGE']),
    descriptorType: z.literal('enuminteger'),
    values: z.array(z.number().int()).max(100),
    defaultValue: z.number().int().optional(),
  }),
  z.object({
    source: z.enum(['GLOBAL', 'IMAGE']),
    descriptorType: z.literal('boolean'),
    defaultValue: z.boolean().optional(),
  }),
]);
export type CapabilityDescriptor = z.infer<typeof capabilityDescriptor>;
export type CapabilitySchemaData = Readonly<Record<string, CapabilityDescriptor>>;

function oneOf(values: string[], defaultValue: string): CapabilityDescriptor {
  return { source: 'GLOBAL', descriptorType: 'enumstring', values, defaultValue };
}

function flag(defaultValue: boolean): CapabilityDescriptor {
  return { source: 'GLOBAL', descriptorType: 'boolean', defaultValue };
}

const VOLUMES = ['ISCSI', 'PARAVIRTUALIZED', 'SCSI', 'IDE', 'NVME'];

/**
 * All that images can be told apart by, as archives that OCI exported name it. There is one version, under the name
 * that such archives of 2026 carry.
 */
export const globalCapabilities = {
  id: 'ocid1.computeglobalimgcapschema.oc1..gantry',
  displayName: 'OCI.ComputeGlobalImageCapabilitySchema',
  createdAtMs: Date.UTC(2026, 0, 1),
  versionName: '0eacf73b-5e10-4b69-a5d2-afd3f37fdd45',
  data: {
    'Compute.AMD_SecureEncryptedVirtualization': flag(false),
    'Compute.Firmware': oneOf(['BIOS', 'UEFI_64'], 'UEFI_64'),
    'Compute.LaunchMode': oneOf(
      ['NATIVE', 'EMULATED', 'VDPA', 'PARAVIRTUALIZED', 'CUSTOM'],
      'PARAVIRTUALIZED',
    ),
    'Compute.SecureBoot': flag(false),
    'Network.AttachmentType': oneOf(['VFIO', 'PARAVIRTUALIZED', 'E1000', 'VDPA'], 'PARAVIRTUALIZED'),
    'Network.IPv6Only': flag(false),
    'Storage.BootVolumeType': oneOf(VOLUMES, 'PARAVIRTUALIZED'),
    'Storage.ConsistentVolumeNaming': flag(true),
    'Storage.Iscsi.MultipathDeviceSupported': flag(false),
    'Storage.LocalDataVolumeType': oneOf(VOLUMES, 'PARAVIRTUALIZED'),
    'Storage.ParaVirtualization.AttachmentVersion': {
      source: 'GLOBAL',
      descriptorType: 'enuminteger',
      values: [1, 2],
      defaultValue: 2,
    },
    'Storage.ParaVirtualization.EncryptionInTransit': flag(false),
    'Storage.RemoteDataVolumeType': oneOf(VOLUMES, 'PARAVIRTUALIZED'),
  } as CapabilitySchemaData,
} as const;
