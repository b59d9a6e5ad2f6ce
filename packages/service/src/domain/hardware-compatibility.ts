import { type GuestOs, osFamilyOf } from '@gantry/machine';

/** `kernel`: yes, but it may need a newer kernel or drivers. */
export type Compatible = 'yes' | 'kernel' | 'no' | 'unknown';

/** Whether images made on one generation of Oracle's hardware run on another. */
export interface HardwareCompatibility {
  readonly x5OnX7: Compatible;
  readonly x6Elsewhere: Compatible;
  readonly advice: readonly string[];
}

interface MatrixRow extends Pick<HardwareCompatibility, 'x5OnX7' | 'x6Elsewhere'> {
  readonly name: RegExp;
  readonly version: RegExp;
}

/** Oracle's table of cross-compatible shapes (X5, X6 and X7 hosts), read from top to bottom. */
const matrix: readonly MatrixRow[] = [
  { name: /^Oracle Autonomous Linux/i, version: /^7/, x5OnX7: 'yes', x6Elsewhere: 'yes' },
  { name: /^Oracle Linux/i, version: /^6/, x5OnX7: 'kernel', x6Elsewhere: 'no' },
  { name: /^Oracle Linux/i, version: /^[78]/, x5OnX7: 'kernel', x6Elsewhere: 'yes' },
  { name: /^Oracle Linux/i, version: /^9/, x5OnX7: 'kernel', x6Elsewhere: 'unknown' },
  { name: /^CentOS Stream/i, version: /^8/, x5OnX7: 'kernel', x6Elsewhere: 'no' },
  { name: /^CentOS/i, version: /^7/, x5OnX7: 'kernel', x6Elsewhere: 'no' },
  { name: /Ubuntu/i, version: /^(?:18|20|22)\.04/, x5OnX7: 'kernel', x6Elsewhere: 'yes' },
];

/** What Oracle's documentation says of a system; `unknown` where it says nothing. */
export function hardwareCompatibility(os: GuestOs): HardwareCompatibility {
  const { name = '', version = '' } = os;
  if (osFamilyOf(os) === 'windows') {
    return { x5OnX7: 'no', x6Elsewhere: 'no', advice: ['make the image anew on the target shape'] };
  }
  const row = matrix.find((each) => each.name.test(name) && each.version.test(version));
  if (row === undefined) return { x5OnX7: 'unknown', x6Elsewhere: 'unknown', advice: [] };
  const { x5OnX7, x6Elsewhere } = row;
  const advice: string[] = [];
  if (x5OnX7 === 'kernel') {
    const update = /Ubuntu/i.test(name) ? 'apt-get update && apt-get dist-upgrade' : 'yum update';
    advice.push(`bring the kernel up to date first (${update}): drivers of network, NVMe and GPU differ`);
  }
  if (x6Elsewhere === 'yes' && !/Autonomous/i.test(name)) advice.push('for X6, a platform image is advised');
  return { x5OnX7, x6Elsewhere, advice };
}
