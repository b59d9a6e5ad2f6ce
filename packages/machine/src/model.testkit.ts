import fc from 'fast-check';
import type { JsonObject, LaunchOptions, Machine, MachineFacts, ShapeCompatibility } from './model.ts';

/**
 * The same without backslashes. JSON.parse of Node 26.10 takes a name for another one that ends with a backslash:
 * after `{"s":[],"x\\":1}` it reads `{"s":[],"x\"":1}` as the first. No document that anybody writes has such names.
 */
export const withoutBackslashes = <Value>(value: Value): Value =>
  JSON.parse(JSON.stringify(value).replaceAll('\\\\', '/'));

const word = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }).map(withoutBackslashes);
const uuid = fc.uuid();

/** JSON under names that no document knows. */
const unknownFields: fc.Arbitrary<JsonObject> = fc.dictionary(
  fc.string({ maxLength: 8 }).map((name) => `x${withoutBackslashes(name)}`),
  fc.jsonValue({ maxDepth: 3 }).map(withoutBackslashes) as fc.Arbitrary<JsonObject[string]>,
  { minKeys: 1, maxKeys: 3 },
);

function optional<Value>(
  fields: { [Name in keyof Value]: fc.Arbitrary<Value[Name]> },
): fc.Arbitrary<Partial<Value>> {
  return fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Partial<Value>>;
}

/** fast-check makes some objects without a prototype. */
const ordinary = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value));

const isNotEmpty = (value: object) => Object.keys(value).length > 0;

const launchOptions: fc.Arbitrary<LaunchOptions> = optional<Required<LaunchOptions>>({
  launchMode: fc.oneof(fc.constantFrom('NATIVE', 'PARAVIRTUALIZED', 'CUSTOM'), word),
  firmware: fc.oneof(fc.constantFrom('BIOS', 'UEFI_64'), word),
  networkType: word,
  bootVolumeType: word,
  remoteDataVolumeType: word,
  localDataVolumeType: word,
  pvAttachmentVersion: fc.nat(),
  isPvEncryptionInTransitEnabled: fc.boolean(),
  isConsistentVolumeNamingEnabled: fc.boolean(),
}).filter(isNotEmpty);

const shape: fc.Arbitrary<ShapeCompatibility> = fc.record(
  {
    shape: word,
    ocpuConstraints: optional({ min: fc.nat(), max: fc.nat() }),
    memoryConstraints: optional({ minInGBs: fc.nat(), maxInGBs: fc.nat() }),
    foreign: unknownFields,
  },
  { requiredKeys: ['shape'] },
) as fc.Arbitrary<ShapeCompatibility>;

const capabilities: fc.Arbitrary<JsonObject> = fc.dictionary(
  word,
  fc.record({
    descriptorType: fc.constantFrom('enumstring', 'enuminteger', 'boolean'),
    values: fc.array(word, { maxLength: 3 }),
    defaultValue: word,
  }),
  { maxKeys: 4 },
);

/** What an OCI image says of a machine, as reading gives it. */
export const ociFacts: fc.Arbitrary<MachineFacts> = fc
  .tuple(
    optional({
      launchOptions,
      guestOs: optional({ name: word, version: word }).filter(isNotEmpty),
      shapeCompatibilities: fc.array(shape, { minLength: 1, maxLength: 4 }),
      imageCapabilities: optional({ formatVersion: uuid, capabilities }).filter(isNotEmpty),
    }),
    optional({
      top: unknownFields,
      externalLaunchOptions: unknownFields,
      imageCapabilityData: unknownFields,
      additionalMetadata: unknownFields,
    }),
  )
  .map(([facts, { top = {}, ...nested }]) => {
    const { launchOptions: { firmware } = {}, imageCapabilities } = facts;
    const { imageCapabilityData, ...others } = nested;
    const beside =
      imageCapabilityData !== undefined && imageCapabilities?.capabilities !== undefined
        ? { imageCapabilityData }
        : {};
    const foreign = { ...top, ...others, ...beside };
    return {
      ...(firmware === 'BIOS' && { firmware: 'bios' as const }),
      ...(firmware === 'UEFI_64' && { firmware: 'uefi' as const }),
      ...facts,
      ...(isNotEmpty(foreign) && { foreign: { 'oci-metadata': foreign } }),
    };
  })
  .map(ordinary);

const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':'));

const plainMachine = fc.record(
  {
    name: fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }),
    uuid,
    title: word,
    description: fc.string({ maxLength: 100, unit: 'grapheme' }),
    architecture: fc.constantFrom('x86_64', 'i686', 'aarch64'),
    firmware: fc.constantFrom('bios', 'uefi'),
    secureBoot: fc.boolean(),
    tpm: fc.boolean(),
    cpuCount: fc.integer({ min: 1, max: 80 }),
    memoryBytes: fc.integer({ min: 1, max: 2 ** 43 }),
    clock: fc.constantFrom('utc', 'local'),
    disks: fc.array(
      fc.record(
        {
          role: fc.constantFrom('system', 'user', 'scratch'),
          device: fc.constantFrom('disk', 'cdrom', 'floppy'),
          path: word,
          format: fc.constantFrom('raw', 'vmdk', 'vdi', 'iso'),
          virtualSizeBytes: fc.nat(),
          bus: fc.constantFrom('virtio', 'scsi', 'sata', 'ide', 'nvme', 'usb', 'xen', 'floppy'),
          bootOrder: fc.integer({ min: 1, max: 4 }),
          readOnly: fc.boolean(),
          uuid,
        },
        { requiredKeys: ['role', 'device'] },
      ),
      { maxLength: 4 },
    ),
    nics: fc.array(
      fc.record(
        {
          model: fc.constantFrom('virtio', 'e1000', 'e1000e', 'rtl8139', 'vmxnet3', 'pcnet'),
          macAddress: mac,
          network: fc.constantFrom('nat', 'bridged', 'named', 'isolated', 'unplugged'),
          networkName: word,
        },
        { requiredKeys: ['network'] },
      ),
      { maxLength: 4 },
    ),
    graphics: fc.record({ kind: fc.constantFrom('vnc', 'window'), port: fc.nat({ max: 65535 }) }),
  },
  {
    requiredKeys: ['name', 'architecture', 'firmware', 'cpuCount', 'memoryBytes', 'clock', 'disks', 'nics'],
  },
);

/** Any machine there could be, also such as no hypervisor starts. */
export const machines: fc.Arbitrary<Machine> = fc
  .tuple(ociFacts, plainMachine)
  .map(([facts, plain]) => ordinary({ ...facts, ...plain }) as Machine);
