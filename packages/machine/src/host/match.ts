import { ImageError } from '@gantry/disk';
import type { VirtImage, VirtImageBoot } from '../descriptors/virt-image/image.ts';
import { requireBoot } from '../descriptors/virt-image/machine.ts';
import type { Host, HostGuest } from './host.ts';

export interface BootChoice {
  /** From 0. */
  readonly index: number;
  readonly guest: HostGuest;
}

/**
 * The boot of an image that a host starts: the first in the order of the document that one of its guests fits, or
 * the one that is asked for, whose features are then not compared. Throws IMAGE_UNSUPPORTED when none fits,
 * IMAGE_OPTION for a boot that is not there.
 */
export function chooseBoot(image: VirtImage, host: Host, wanted?: number): BootChoice {
  if (wanted !== undefined) {
    const boot = requireBoot(image, wanted);
    const guest = host.guests.find((candidate) => isOfKind(candidate, boot));
    if (guest !== undefined) return { index: wanted, guest };
    throw unsupported(
      `this host runs no ${boot.type} guests for ${boot.architecture}, as boot ${wanted} is`,
      host,
    );
  }
  for (const [index, boot] of image.boots.entries()) {
    const guest = host.guests.find((candidate) => isOfKind(candidate, boot) && hasFeatures(candidate, boot));
    if (guest !== undefined) return { index, guest };
  }
  const kinds = image.boots.map(({ type, architecture }) => `${type} for ${architecture}`).join(', ');
  throw unsupported(`none of the boots fits this host: ${kinds === '' ? 'there are none' : kinds}`, host);
}

/** The way in which a guest is run: KVM where it can be. */
export function domainTypeOf({ domainTypes }: HostGuest): string {
  return ['kvm', 'xen', 'qemu'].find((type) => domainTypes.includes(type)) ?? domainTypes.at(-1) ?? 'qemu';
}

function isOfKind(guest: HostGuest, boot: VirtImageBoot): boolean {
  return guest.type === boot.type && guest.architecture === boot.architecture;
}

function hasFeatures({ features }: HostGuest, boot: VirtImageBoot): boolean {
  return Object.entries(boot.features).every(([name, state]) => features.get(name)?.includes(state) === true);
}

function unsupported(message: string, { guests }: Host): ImageError {
  const kinds = [...new Set(guests.map(({ type, architecture }) => `${type} for ${architecture}`))].join(
    ', ',
  );
  return new ImageError('IMAGE_UNSUPPORTED', message, {
    structure: 'virt-image boot',
    hint: `it runs ${kinds === '' ? 'nothing: install QEMU' : kinds}; a boot with features that it lacks is taken when it is asked for by its number`,
  });
}
