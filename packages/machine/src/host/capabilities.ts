import { ImageError } from '@gantry/disk';
import { defined } from '../defined.ts';
import { readXml } from '../descriptors/xml/read.ts';
import { attributeOf, childrenNamed, textAt, type XmlElement } from '../descriptors/xml/tree.ts';
import type { FeatureStates, Host, HostGuest } from './host.ts';

const STRUCTURE = 'libvirt capabilities';

/** Reads what `virsh capabilities` prints. Throws IMAGE_MALFORMED, IMAGE_LIMIT. */
export function readCapabilities(bytes: Uint8Array, file = 'capabilities'): Host {
  const root = readXml(bytes, { file, structure: STRUCTURE });
  if (root.name !== 'capabilities') {
    throw new ImageError('IMAGE_MALFORMED', `${file}: the root is <${root.name}>, and not <capabilities>`, {
      structure: STRUCTURE,
      hint: 'save what virsh capabilities prints',
    });
  }
  return { guests: childrenNamed(root, 'guest').flatMap(guestsOf) };
}

function guestsOf(guest: XmlElement): HostGuest[] {
  const type = textAt(guest, 'os_type');
  const features = new Map(
    childrenNamed(guest, 'features').flatMap((list) => list.children.flatMap(featureOf)),
  );
  // Old hosts told of a guest without PAE by a feature of its own.
  const pae = features.get('pae');
  if (features.delete('nonpae') && !pae?.includes('off')) features.set('pae', [...(pae ?? []), 'off']);
  return childrenNamed(guest, 'arch').flatMap((arch) => {
    const architecture = attributeOf(arch, 'name');
    if (type === undefined || architecture === undefined) return [];
    const domainTypes = childrenNamed(arch, 'domain').map((domain) => attributeOf(domain, 'type') ?? '');
    return [defined({ type, architecture, domainTypes, features, emulator: textAt(arch, 'emulator') })];
  });
}

function featureOf({ name, attributes }: XmlElement): [string, FeatureStates][] {
  const value = (key: string) => attributes.get(key)?.value;
  if (value('toggle') === 'yes') return [[name, ['on', 'off']]];
  const byDefault = value('default');
  return [[name, [byDefault === 'off' ? 'off' : 'on']]];
}
