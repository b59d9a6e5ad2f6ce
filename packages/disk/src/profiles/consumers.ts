import { ImageError } from '../errors.ts';
import { aws } from './aws.ts';
import { azure } from './azure.ts';
import { hyperV } from './hyper-v.ts';
import { ims } from './ims.ts';
import { oci } from './oci.ts';
import type { Consumer } from './profile.ts';
import { proxmox } from './proxmox.ts';
import { qemu } from './qemu.ts';
import { virtualbox } from './virtualbox.ts';
import { vmware } from './vmware.ts';

/** Everyone that an image can be made for; a new one is one file and one line here. */
export const consumers: readonly Consumer[] = [
  virtualbox,
  vmware,
  hyperV,
  azure,
  aws,
  oci,
  ims,
  qemu,
  proxmox,
];

/** The consumer of this name. Throws IMAGE_OPTION for a name that is not known. */
export function consumerNamed(name: string): Consumer {
  const consumer = consumers.find((candidate) => candidate.name === name);
  if (consumer !== undefined) return consumer;
  throw new ImageError('IMAGE_OPTION', `there is no consumer named ${JSON.stringify(name)}`, {
    structure: 'consumer name',
    hint: `use one of ${consumers.map((known) => known.name).join(', ')}`,
  });
}
