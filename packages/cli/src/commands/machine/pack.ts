import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { StoreError, storeError } from '@gantry/disk';
import {
  completeMachine,
  type LaunchOptions,
  launchHardware,
  type Machine,
  type WrittenDescriptor,
  writeLibvirtDomain,
  writeVirtImage,
} from '@gantry/machine';
import type { Image } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findImage } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable, shellWord } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { writeWholeFile } from '../../output/whole-file.ts';
import { openForm } from '../image/form.ts';
import { writeVerified } from '../image/verified.ts';
import { noteLosses } from './losses.ts';
import { packedFormats } from './packed-formats.ts';

interface PackOptions {
  readonly format: keyof typeof packedFormats;
  readonly compress?: 'zlib' | 'zstd';
  readonly to?: keyof typeof writers;
  readonly name?: string;
  readonly ram?: number;
  readonly vcpus?: number;
  readonly arch?: 'x86_64' | 'i686' | 'aarch64';
  readonly vnc?: boolean;
}

const writers = { 'virt-image': writeVirtImage, libvirt: writeLibvirtDomain } as const;

const MIB: number = 2 ** 20;

/**
 * Writes the disk of an image and then a descriptor of a machine that starts from it. The descriptor comes last: with
 * it the folder is whole.
 */
export async function run(
  context: Context,
  [idOrName, folder]: readonly [string, string],
  options: PackOptions,
): Promise<undefined> {
  const client = await connect(context);
  const image = await findImage(client, idOrName);
  const name = fileName(options.name ?? image.name);
  const diskName = `${name}.${packedFormats[options.format]}`;
  const descriptorPath = join(folder, `${name}.xml`);
  const diskPath = join(folder, diskName);
  const machine = machineOf(image, name, options);
  const kind = options.to ?? (machine.firmware === 'uefi' ? 'libvirt' : 'virt-image');
  await mkdir(folder).catch((error) => {
    if (error.code !== 'EEXIST') throw storeError(error, folder);
  });
  for (const path of [diskPath, descriptorPath]) await requireNew(path);
  const form = await openForm(context, client, image, options);
  let lengthBytes: number;
  try {
    lengthBytes = await writeVerified(context, image, form, { path: diskPath, format: options.format });
  } finally {
    await form.close();
  }
  const sha256 = await sha256Of(diskPath, context.signal);
  const disk = { name: diskName, path: diskPath, format: options.format, sha256 };
  const { text, losses } = descriptorOf(machine, kind, disk);
  noteLosses(context, losses, kind);
  await writeWholeFile(descriptorPath, text);
  await context.output.record(
    {
      image: image.id,
      descriptor: descriptorPath,
      kind,
      disk: diskPath,
      lengthBytes,
      diskDigest: image.diskDigest,
    },
    [
      `wrote ${printable(diskPath)} as ${options.format}: ${exactSizeText(lengthBytes)}`,
      `verified: it was read back and has the disk digest of the image, ${image.diskDigest}`,
      `wrote ${printable(descriptorPath)} as ${kind}`,
      `start it with: gantry machine run ${shellWord(descriptorPath)}`,
    ],
  );
}

/** What is known of the machine: the devices from the launch options, the rest as most images want it. */
function machineOf(image: Image, name: string, { ram, vcpus, arch, vnc }: PackOptions): Machine {
  const { firmware, bootDiskBus, nicModel } = launchHardware(
    image.launchOptions as LaunchOptions | undefined,
  );
  const { operatingSystem, operatingSystemVersion } = image;
  return completeMachine({
    name,
    ...(image.name !== name && { title: image.name }),
    ...(arch !== undefined && { architecture: arch }),
    // Arm has no other.
    firmware: arch === 'aarch64' ? 'uefi' : firmware,
    ...(vcpus !== undefined && { cpuCount: vcpus }),
    ...(ram !== undefined && { memoryBytes: ram * MIB }),
    ...(operatingSystem !== '' && {
      guestOs: {
        name: operatingSystem,
        ...(operatingSystemVersion !== '' && { version: operatingSystemVersion }),
      },
    }),
    disks: [
      {
        role: 'system',
        device: 'disk',
        bus: bootDiskBus,
        target: targets[bootDiskBus] ?? 'sda',
        bootOrder: 1,
        virtualSizeBytes: image.virtualSizeBytes,
      },
    ],
    nics: [{ network: 'nat', model: nicModel }],
    ...(vnc === true && { graphics: { kind: 'vnc' } }),
  });
}

/** The names from which descriptors tell the bus. */
const targets: Readonly<Record<string, string>> = { virtio: 'vda', ide: 'hda', sata: 'sda' };

/** virt-image names files beside it, libvirt wherever they are. */
function descriptorOf(
  machine: Machine,
  kind: keyof typeof writers,
  file: { readonly name: string; readonly path: string; readonly format: string; readonly sha256: string },
): WrittenDescriptor {
  const path = kind === 'libvirt' ? resolve(file.path) : file.name;
  const disks = machine.disks.map((disk) => ({
    ...disk,
    path,
    format: file.format,
    checksums: { sha256: file.sha256 },
  }));
  return writers[kind]({ ...machine, disks });
}

async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, { signal });
  return hash.digest('hex');
}

/** Letters that every descriptor takes, and no place elsewhere. */
function fileName(name: string): string {
  const clean = name
    .replaceAll(/[^A-Za-z0-9_.+-]+/g, '-')
    .replace(/^[.-]+/, '')
    .slice(0, 100);
  if (clean !== '') return clean;
  throw usageError(`${JSON.stringify(name)} has no letters for the name of a file`, 'give one with --name');
}

async function requireNew(path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined)) === undefined) return;
  throw new StoreError('STORE_EXISTS', `${path} is there already`, {
    where: path,
    hint: 'name another folder, or another machine with --name',
  });
}
