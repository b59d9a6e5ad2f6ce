export { completeMachine } from './complete.ts';
export { readLibvirtDomain } from './descriptors/libvirt/read.ts';
export { type LibvirtDomainOptions, writeLibvirtDomain } from './descriptors/libvirt/write.ts';
export { readOciMetadata } from './descriptors/oci-metadata/read.ts';
export { writeOciMetadata } from './descriptors/oci-metadata/write.ts';
export type { OvfDiskFile } from './descriptors/ovf/place.ts';
export { type OvfReadOptions, readOvf } from './descriptors/ovf/read.ts';
export { writeOvf } from './descriptors/ovf/write.ts';
export type {
  VirtImage,
  VirtImageBoot,
  VirtImageBootType,
  VirtImageDisk,
  VirtImageDrive,
} from './descriptors/virt-image/image.ts';
export { type LintFinding, lintVirtImage } from './descriptors/virt-image/lint.ts';
export {
  type OmittedFeatures,
  readVirtImageMachine,
  type VirtImageMachineOptions,
  virtImageFacts,
} from './descriptors/virt-image/machine.ts';
export { readVirtImage, type VirtImageReading } from './descriptors/virt-image/read.ts';
export { virtImageText, writeVirtImage } from './descriptors/virt-image/write.ts';
export { type ChosenOsType, osTypeOf } from './descriptors/virtualbox/os-types.ts';
export { readVirtualBoxSettings } from './descriptors/virtualbox/read.ts';
export { writeRegisterScript, writeVBoxManageScript } from './descriptors/virtualbox/script.ts';
export { writeVirtualBoxSettings } from './descriptors/virtualbox/settings.ts';
export type { GuestFinding, GuestFindingSeverity } from './guest/findings.ts';
export { type InspectGuestOptions, inspectGuest } from './guest/inspect.ts';
export type { GuestLimits } from './guest/limits.ts';
export type { Partition } from './guest/partitions/partition.ts';
export { type LaunchProposal, proposeLaunch } from './guest/propose.ts';
export type {
  BootAnswer,
  BootLoader,
  Conclusion,
  DriverState,
  FirmwareAnswer,
  GuestFileSystem,
  GuestKernel,
  GuestMount,
  GuestOperatingSystem,
  GuestReport,
  LinuxGuest,
  NetworkBinding,
  VirtioDriver,
  WindowsClock,
  WindowsDriver,
  WindowsGuest,
} from './guest/report.ts';
export {
  type ByteChange,
  CHANGES_TEXT_BYTES_MAX,
  changesText,
  parseChanges,
  pendingChanges,
  reversedChanges,
} from './guest/windows/byte-changes.ts';
export { type ClockRepair, type ClockRepairOptions, planClockRepair } from './guest/windows/clock-repair.ts';
export { osFamilyOf } from './guest-os.ts';
export { readCapabilities } from './host/capabilities.ts';
export {
  createDiskFiles,
  type DiskFile,
  type DiskFileOptions,
  type DiskFilePlan,
  planDiskFiles,
  verifyChecksums,
} from './host/disk-files.ts';
export { type FoundFirmware, findFirmware } from './host/firmware.ts';
export type { FeatureStates, Host, HostGuest } from './host/host.ts';
export { type BootChoice, chooseBoot, domainTypeOf } from './host/match.ts';
export { type QemuHostOptions, qemuHost, qemuProgram } from './host/qemu.ts';
export type {
  BackedDisk,
  Capture,
  CaptureRequest,
  Consistency,
  DefinedMachine,
  HypervisorDriver,
  MachineConsole,
  MachineState,
  MachineStatus,
  NbdExport,
  StopRequest,
} from './hypervisors/driver.ts';
export { LibvirtDriver, type LibvirtDriverOptions } from './hypervisors/libvirt/driver.ts';
export { type DefineOptions, LibvirtHost, type LibvirtOptions } from './hypervisors/libvirt/virsh.ts';
export {
  type QemuCommand,
  type QemuCommandOptions,
  qemuCommand,
  type UefiFiles,
} from './hypervisors/qemu/command.ts';
export { QemuDriver, type QemuDriverOptions } from './hypervisors/qemu/driver.ts';
export { QmpClient, type QmpEvent } from './hypervisors/qemu/qmp.ts';
export { type GuestEnd, type RunningMachine, startMachine } from './hypervisors/qemu/run.ts';
export { VirtualBoxDriver, type VirtualBoxDriverOptions } from './hypervisors/virtualbox/driver.ts';
export { type LaunchHardware, launchHardware } from './launch-hardware.ts';
export type {
  Architecture,
  Clock,
  DescriptorReading,
  DirectKernel,
  DiskBus,
  DiskRole,
  Firmware,
  Graphics,
  GuestOs,
  GuestType,
  ImageCapabilities,
  JsonObject,
  LaunchOptions,
  Loss,
  LossReport,
  Machine,
  MachineDisk,
  MachineFacts,
  MachineFeatures,
  NetworkKind,
  Nic,
  NicModel,
  OsFamily,
  ShapeCompatibility,
  WrittenDescriptor,
} from './model.ts';
export { nicModels } from './nic-models.ts';
