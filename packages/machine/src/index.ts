export { completeMachine } from './complete.ts';
export { readOciMetadata } from './descriptors/oci-metadata/read.ts';
export { writeOciMetadata } from './descriptors/oci-metadata/write.ts';
export { type ChosenOsType, osTypeOf } from './descriptors/virtualbox/os-types.ts';
export { writeRegisterScript, writeVBoxManageScript } from './descriptors/virtualbox/script.ts';
export { writeVirtualBoxSettings } from './descriptors/virtualbox/settings.ts';
export { osFamilyOf } from './guest-os.ts';
export type {
  Architecture,
  Clock,
  DescriptorReading,
  DiskBus,
  DiskRole,
  Firmware,
  Graphics,
  GuestOs,
  ImageCapabilities,
  JsonObject,
  LaunchOptions,
  Loss,
  LossReport,
  Machine,
  MachineDisk,
  MachineFacts,
  NetworkKind,
  Nic,
  NicModel,
  OsFamily,
  ShapeCompatibility,
  WrittenDescriptor,
} from './model.ts';
