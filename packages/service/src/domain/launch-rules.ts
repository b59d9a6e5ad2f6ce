import { type LaunchOptions, osFamilyOf } from '@gantry/machine';
import { DomainError } from './errors.ts';
import { type LaunchMode, type LaunchOptionsInput, launchOptionsOf } from './launch-options.ts';

/** What is asked for an image that is to be imported, and what is known of its file. */
export interface LaunchRequest {
  /** Name of the file's format. */
  readonly format: string;
  readonly launchMode?: LaunchMode | undefined;
  readonly launchOptions?: LaunchOptionsInput | undefined;
  readonly operatingSystem: string;
  /** What the document of an `.oci` archive says. */
  readonly archived?: LaunchOptions | undefined;
  /** What the disk seems to start with. */
  readonly firmware: 'BIOS' | 'UEFI_64';
}

/** The rules of Oracle's documentation for custom images, each as one check. */
type Rule = (request: LaunchRequest) => void;

/** Devices are described one by one only where the mode says so. */
const optionsNeedCustom: Rule = ({ launchMode, launchOptions }) => {
  if (launchOptions === undefined || launchMode === 'CUSTOM') return;
  throw refused(
    'launchOptions are taken with launchMode CUSTOM only',
    'send launchMode CUSTOM, or leave launchOptions away',
  );
};

const customNeedsOptions: Rule = ({ launchMode, launchOptions, archived }) => {
  if (launchMode !== 'CUSTOM' || launchOptions !== undefined || archived !== undefined) return;
  throw refused(
    'launchMode CUSTOM needs launchOptions',
    'send the devices, such as {"firmware": "UEFI_64", "networkType": "E1000"}',
  );
};

/** An archive says how its image is launched: that is not to be chosen. */
const archiveDecides: Rule = ({ launchMode, archived }) => {
  const said = archived?.launchMode;
  if (said === undefined || launchMode === undefined || launchMode === said) return;
  throw refused(
    `the archive's launch mode is ${said} and cannot be chosen`,
    `leave launchMode away, or import the image inside it as QCOW2`,
  );
};

/**
 * Native devices need drivers that only images of OCI itself are known to have, and those leave it as .oci or
 * QCOW2. Nothing in a QCOW2 file tells where it was made: for these the client's word is taken.
 */
const nativeIsForExports: Rule = ({ launchMode, archived, format }) => {
  if (launchMode !== 'NATIVE' || archived !== undefined || format === 'qcow2') return;
  throw refused(
    `a ${format} file cannot be launched in NATIVE mode: only OCI's own exports can, as .oci or QCOW2`,
    'import it as PARAVIRTUALIZED or EMULATED',
  );
};

/** What Oracle supports paravirtualized only when it is brought along. */
const paravirtualizedOnly: Rule = ({ launchMode, operatingSystem, archived }) => {
  if (archived !== undefined || launchMode === undefined) return;
  if (launchMode === 'PARAVIRTUALIZED' || launchMode === 'CUSTOM') return;
  const isWindows = osFamilyOf({ name: operatingSystem }) === 'windows';
  if (!isWindows && !/^(?:Oracle Linux Cloud Developer|RHEL|Red Hat)/i.test(operatingSystem)) return;
  throw refused(
    `imported ${operatingSystem} is launched PARAVIRTUALIZED, not ${launchMode}`,
    'for other devices describe them: launchMode CUSTOM with launchOptions',
  );
};

const beforeTheFile: readonly Rule[] = [optionsNeedCustom, paravirtualizedOnly];
const withTheFile: readonly Rule[] = [
  ...beforeTheFile,
  customNeedsOptions,
  archiveDecides,
  nativeIsForExports,
];

/** What can be refused before the file is looked at. Throws INVALID. */
export function requireLaunchable(request: Omit<LaunchRequest, 'format' | 'firmware'>): void {
  for (const rule of beforeTheFile) rule({ ...request, format: '', firmware: 'BIOS' });
}

/** How an imported image is launched. Throws INVALID for what a rule forbids. */
export function launchOf(request: LaunchRequest): LaunchOptions & { readonly launchMode: string } {
  for (const rule of withTheFile) rule(request);
  const { archived, launchMode, launchOptions = {}, firmware } = request;
  if (archived !== undefined) {
    // A word that is not known here is kept as it came.
    const mode = archived.launchMode ?? launchMode ?? 'CUSTOM';
    return { ...archived, ...(launchOptions as LaunchOptions), launchMode: mode };
  }
  const mode = launchMode ?? 'PARAVIRTUALIZED';
  return { ...launchOptionsOf(mode, launchOptions as LaunchOptions, firmware), launchMode: mode };
}

/** Throws INVALID for a disk that is larger than the operator allows. */
export function requireSize(virtualSizeBytes: number, limitBytes: number): void {
  if (virtualSizeBytes <= limitBytes) return;
  throw new DomainError(
    'TOO_LARGE',
    `the disk has ${virtualSizeBytes} bytes, images here at most ${limitBytes}`,
    {
      hint: 'the operator can allow larger ones: gantry serve --image-size-max',
    },
  );
}

/** Images that belong to somebody else stay where they are. `kinds` are those of the image and what it was made from. */
export function requireExportable(kinds: readonly string[]): void {
  const [own] = kinds;
  if (own === 'platform')
    throw refused('platform images cannot be exported', 'make an instance of it, and an image of that');
  if (kinds.includes('marketplace')) {
    throw refused(
      own === 'marketplace'
        ? 'marketplace images cannot be exported'
        : 'the image was made from a marketplace image, and such images cannot be exported',
      'ask the publisher of the image for a file',
    );
  }
}

/** Brought images run on virtual machines. */
export function requireVirtualShape(shape: string, isImported: boolean): void {
  if (!isImported || !shape.startsWith('BM.')) return;
  throw refused(
    `imported images are not launched on bare metal: ${shape}`,
    'take a shape of virtual machines: VM.…',
  );
}

function refused(message: string, hint: string): DomainError {
  return new DomainError('INVALID', message, { hint });
}
