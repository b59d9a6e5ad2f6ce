import { anyAttribute, anyChild, anyChildren, type XmlElement } from '../xml/tree.ts';
import type { Warnings } from '../xml/warnings.ts';
import { malformedOvf, refusedOvf } from './envelope.ts';
import { ITEM_COUNT_MAX } from './limits.ts';

/** A device or a quantity: a `rasd:Item`, or one of the two kinds that OVF 2 has beside it. */
export interface Item {
  readonly element: XmlElement;
  readonly id: string;
  readonly type: number;
  readonly subType: string;
  readonly parent?: string | undefined;
  /** `Address`: the number of a controller, the address of an adapter. */
  readonly address?: string | undefined;
  readonly addressOnParent?: number | undefined;
  readonly hostResource?: string | undefined;
  readonly connection?: string | undefined;
  readonly quantity?: string | undefined;
  readonly units?: string | undefined;
  readonly isStarted: boolean;
  readonly bootOrder?: number | undefined;
}

const names: readonly string[] = ['Item', 'StorageItem', 'EthernetPortItem'];

/**
 * The items of a hardware section for one configuration: what is bound to another one is left out, and so are the
 * ends of ranges (DSP0243, 8.3 and 9.8).
 */
export function itemsOf(section: XmlElement, configuration: string | undefined, warnings: Warnings): Item[] {
  const elements = section.children.filter(({ name }) => names.includes(name));
  if (elements.length > ITEM_COUNT_MAX) {
    const what = warnings.at(section, `there are ${elements.length} items: ${ITEM_COUNT_MAX} are the most`);
    throw refusedOvf('IMAGE_LIMIT', what, 'no machine has so many devices');
  }
  const chosen = elements.filter((element) => {
    const wanted = anyAttribute(element, 'configuration');
    const bound = anyAttribute(element, 'bound');
    const isMeant =
      wanted === undefined || (configuration !== undefined && wanted.split(/\s+/).includes(configuration));
    return isMeant && bound !== 'min' && bound !== 'max';
  });
  const items = chosen.map((element) => itemOf(element, warnings));
  // What is said for the configuration stands in the place of what is said for all.
  const configured = new Set(items.filter(isConfigured).map(({ id }) => id));
  return items.filter((item) => item.id === '' || isConfigured(item) || !configured.has(item.id));
}

function isConfigured({ element }: Item): boolean {
  return anyAttribute(element, 'configuration') !== undefined;
}

function itemOf(element: XmlElement, warnings: Warnings): Item {
  const text = (name: string) => anyChild(element, name)?.text.trim() || undefined;
  const type = Number(text('ResourceType') ?? Number.NaN);
  if (!Number.isSafeInteger(type)) throw malformedOvf(warnings, element, 'the item has no ResourceType');
  return {
    element,
    id: text('InstanceID') ?? text('InstanceId') ?? '',
    type,
    subType: text('ResourceSubType') ?? '',
    parent: text('Parent'),
    address: text('Address'),
    addressOnParent: numberOf(text('AddressOnParent')),
    hostResource: text('HostResource'),
    connection: text('Connection'),
    quantity: text('VirtualQuantity'),
    units: text('AllocationUnits') ?? text('VirtualQuantityUnits'),
    isStarted: text('AutomaticAllocation')?.toLowerCase() !== 'false',
    bootOrder: numberOf(text('BootOrder')),
  };
}

export function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

/** The configuration that is taken where none is asked for: the one that says so, else the first. */
export function defaultConfiguration(root: XmlElement, warnings: Warnings): string | undefined {
  const all = anyChildren(root, 'DeploymentOptionSection').flatMap((section) =>
    anyChildren(section, 'Configuration'),
  );
  const chosen = all.find((each) => anyAttribute(each, 'default') === 'true') ?? all[0];
  const id = anyAttribute(chosen, 'id');
  if (chosen !== undefined && all.length > 1)
    warnings.add(chosen, `of ${all.length} configurations ${JSON.stringify(id ?? '')} is taken`);
  return id;
}
