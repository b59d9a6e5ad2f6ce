import { ImageError } from '../../errors.ts';
import type { FormatOption, WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import type { AdapterType, Subformat } from './new-descriptor.ts';

const SUBFORMAT: FormatOption = {
  name: 'subformat',
  description:
    'monolithicSparse grows and can be written to; streamOptimized is compressed, for OVA and upload; the others are a descriptor and extent files',
  values: [
    'monolithicSparse',
    'streamOptimized',
    'monolithicFlat',
    'twoGbMaxExtentSparse',
    'twoGbMaxExtentFlat',
    'vmfs',
  ] satisfies Subformat[],
};

const ADAPTER_TYPE: FormatOption = {
  name: 'adapter_type',
  description: 'the controller that the descriptor names; VMware attaches the disk to it',
  values: ['lsilogic', 'ide', 'buslogic', 'pvscsi'] satisfies AdapterType[],
};

/** VMware's first version with these disks is 3; none of the field is above 22. */
const HARDWARE_VERSION_MIN = 3;
const HARDWARE_VERSION_MAX = 99;
const HARDWARE_VERSION: FormatOption = {
  name: 'hwversion',
  description: 'the virtual hardware version that the descriptor names, 3 to 99; 4 when not given',
};

const TABLES: FormatOption = {
  name: 'tables',
  description:
    'where a streamOptimized file has its grain tables: at the end it can be written to a pipe, in front it is read at once',
  values: ['end', 'front'],
};

export const vmdkOptions: readonly FormatOption[] = [SUBFORMAT, ADAPTER_TYPE, HARDWARE_VERSION, TABLES];

/** What is to be written. */
export interface VmdkForm {
  readonly subformat: Subformat;
  readonly adapterType: AdapterType;
  readonly hardwareVersion: number;
  readonly tables: 'end' | 'front';
}

/** Throws IMAGE_OPTION for values that are not known and for those that contradict each other. */
export function chosenForm(request: WriteRequest): VmdkForm {
  const subformat = chosenSubformat(request);
  if (request.options.tables !== undefined && subformat !== 'streamOptimized') {
    throw new ImageError('IMAGE_OPTION', `a VMDK of the subformat ${subformat} has its tables in one place`, {
      structure: 'option tables',
      hint: 'leave it away, or choose subformat=streamOptimized',
    });
  }
  return {
    subformat,
    adapterType: chosenValue(request, ADAPTER_TYPE) as AdapterType,
    hardwareVersion: chosenHardwareVersion(request),
    tables: chosenValue(request, TABLES) as 'end' | 'front',
  };
}

/** Compression means streamOptimized, unless another subformat was asked for by name. */
function chosenSubformat(request: WriteRequest): Subformat {
  const { compression, options } = request;
  const subformat = chosenValue(request, SUBFORMAT) as Subformat;
  if (compression === undefined) return subformat;
  if (compression === 'zlib' && (options.subformat === undefined || subformat === 'streamOptimized')) {
    return 'streamOptimized';
  }
  throw new ImageError(
    'IMAGE_OPTION',
    compression === 'zlib'
      ? `a VMDK of the subformat ${subformat} cannot be compressed`
      : `a VMDK cannot be compressed with ${compression}`,
    { structure: 'option compression', hint: 'use zlib compression, with the subformat streamOptimized' },
  );
}

function chosenHardwareVersion(request: WriteRequest): number {
  const text = request.options[HARDWARE_VERSION.name] ?? '4';
  const version = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (version >= HARDWARE_VERSION_MIN && version <= HARDWARE_VERSION_MAX) return version;
  throw new ImageError('IMAGE_OPTION', `hwversion cannot be ${JSON.stringify(text)}`, {
    structure: `option ${HARDWARE_VERSION.name}`,
    hint: `use a number from ${HARDWARE_VERSION_MIN} to ${HARDWARE_VERSION_MAX}`,
  });
}
