import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { Sha256 } from '../../bytes/sha256.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { FormatOption, WriteRequest } from '../../formats/format.ts';
import { chosenValue } from '../../formats/options.ts';
import { vmdk } from '../../formats/vmdk/format.ts';
import { sha256 } from '../../io/node-hash.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import { parseGivenDescriptor } from '../ovf/given-descriptor.ts';
import { encodeOvf, type NewMachine } from '../ovf/new-descriptor.ts';
import { encodeTarHeader, TAR_BLOCK_BYTES } from '../tar/header.ts';
import { MODIFIED_AT_SECONDS } from '../tar/layout.ts';
import { tarStream } from '../tar/stream.ts';
import { manifestLine } from './manifest.ts';
import { CPUS, DESCRIPTOR, FIRMWARE, MEMORY_MIB, NAME, OS } from './write-options.ts';

/** Of vSphere 8: a descriptor that asks for more is refused there. */
const CPU_COUNT_MAX = 768;
const MEMORY_MIB_MAX: number = 24 * 2 ** 20;

/** What describes the machine: its name for the files, and the descriptor's bytes, of one length for every disk file. */
interface Appliance {
  readonly base: string;
  readonly diskFileName: string;
  encode(fileBytes: number): Uint8Array;
}

/**
 * An appliance of one disk for VMware: descriptor, streamOptimized VMDK, manifest. The descriptor and the tar
 * header of the disk say its length, so they, the front, come last; the manifest, with the disk's hash, ends it.
 */
export async function planOva(disk: Disk, request: WriteRequest): Promise<ImageStream> {
  const { seed, baseName, signal } = request;
  const { base, diskFileName, encode } = applianceOf(disk, request);
  const image = await vmdk.plan?.(disk, {
    options: { subformat: 'streamOptimized' },
    seed,
    baseName,
    signal,
  });
  invariant(image?.kind === 'stream', 'a streamOptimized VMDK is a stream');
  const ovfName = `${base}.ovf`;
  const ovfBytes = encode(0).length;
  const headBytes = 2 * TAR_BLOCK_BYTES + roundUp(ovfBytes, TAR_BLOCK_BYTES);
  return tarStream('ova', image, {
    headBytes,
    head(imageBytes) {
      const head = new Uint8Array(headBytes);
      head.set(encodeTarHeader(ovfName, ovfBytes, MODIFIED_AT_SECONDS));
      head.set(encode(imageBytes), TAR_BLOCK_BYTES);
      head.set(encodeTarHeader(diskFileName, imageBytes, MODIFIED_AT_SECONDS), headBytes - TAR_BLOCK_BYTES);
      return head;
    },
    tailBytesMax: 2 * TAR_BLOCK_BYTES,
    tail(imageBytes, hash) {
      const lines = [manifestLine(ovfName, sha256(encode(imageBytes))), manifestLine(diskFileName, hash)];
      return manifestMember(`${base}.mf`, lines);
    },
    newDigest: () => new Sha256(),
  });
}

function applianceOf(disk: Disk, request: WriteRequest): Appliance {
  const text = request.options[DESCRIPTOR.name];
  if (text === undefined) {
    const machine = newMachine(disk, request);
    const { diskFileName, name } = machine;
    return { base: memberBase(name), diskFileName, encode: (fileBytes) => encodeOvf(machine, fileBytes) };
  }
  const said = [NAME, CPUS, MEMORY_MIB, FIRMWARE, OS].find(({ name }) => request.options[name] !== undefined);
  if (said !== undefined) {
    throw new ImageError('IMAGE_OPTION', `${said.name} and descriptor cannot be given together`, {
      structure: `option ${said.name}`,
      hint: `the descriptor already says it: leave ${said.name} away`,
    });
  }
  const given = parseGivenDescriptor(text);
  const base = memberBase(given.name ?? request.baseName);
  const diskFileName = diskName(base);
  const described = { fileName: diskFileName, virtualSizeBytes: shownBytes(disk) };
  return { base, diskFileName, encode: (fileBytes) => given.encode(described, fileBytes) };
}

function diskName(base: string): string {
  return `${base}-disk1.vmdk`;
}

/** A VMDK has whole sectors. */
function shownBytes({ virtualSizeBytes }: Disk): number {
  return roundUp(virtualSizeBytes, SECTOR_BYTES);
}

function manifestMember(name: string, lines: readonly Uint8Array[]): Uint8Array {
  const lengthBytes = lines.reduce((sum, line) => sum + line.length, 0);
  const member = new Uint8Array(TAR_BLOCK_BYTES + roundUp(lengthBytes, TAR_BLOCK_BYTES));
  member.set(encodeTarHeader(name, lengthBytes, MODIFIED_AT_SECONDS));
  let at = TAR_BLOCK_BYTES;
  for (const line of lines) {
    member.set(line, at);
    at += line.length;
  }
  return member;
}

function newMachine(disk: Disk, request: WriteRequest): NewMachine {
  const { options, baseName } = request;
  const name = textOption(options[NAME.name] ?? baseName, NAME, /^[^\p{Cc}]{1,80}$/u);
  return {
    name,
    osType: textOption(options[OS.name] ?? 'otherGuest64', OS, /^[A-Za-z0-9_]{1,80}$/),
    cpuCount: numberOption(request, CPUS, 2, 1, CPU_COUNT_MAX),
    memoryMib: numberOption(request, MEMORY_MIB, 2048, 4, MEMORY_MIB_MAX),
    firmware: chosenValue(request, FIRMWARE) === 'efi' ? 'efi' : 'bios',
    virtualSizeBytes: shownBytes(disk),
    diskFileName: diskName(memberBase(name)),
  };
}

/** A name for files on any system, made of the machine's. */
function memberBase(name: string): string {
  const base = name
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[-.]+/, '')
    .slice(0, 60);
  return base === '' ? 'machine' : base;
}

function textOption(value: string, option: FormatOption, pattern: RegExp): string {
  if (pattern.test(value)) return value;
  throw refused(option, value);
}

function numberOption(
  request: WriteRequest,
  option: FormatOption,
  byDefault: number,
  step: number,
  most: number,
): number {
  const text = request.options[option.name];
  if (text === undefined) return byDefault;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= most && (step === 1 || value % step === 0)) return value;
  throw refused(option, text);
}

function refused(option: FormatOption, value: string): ImageError {
  return new ImageError('IMAGE_OPTION', `${option.name} cannot be ${JSON.stringify(value.slice(0, 100))}`, {
    structure: `option ${option.name}`,
    hint: option.description,
  });
}
