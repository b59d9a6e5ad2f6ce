import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

/** An element as Python's parser sees it: names with their namespace in braces. */
export interface Parsed {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly text: string;
  readonly children: readonly Parsed[];
}

const script = `
import json, sys
import xml.etree.ElementTree as tree
def plain(e):
    return {'tag': e.tag, 'attributes': e.attrib, 'text': e.text or '', 'children': [plain(c) for c in e]}
print(json.dumps([plain(tree.fromstring(text.encode())) for text in json.load(sys.stdin)]))
`;

/** Reads documents with Python, which refuses what is not well formed XML. */
export function parsedByPython(texts: readonly string[]): Parsed[] {
  const input = JSON.stringify(texts);
  return JSON.parse(execFileSync('python3', ['-c', script], { input, maxBuffer: 2 ** 26, encoding: 'utf8' }));
}

export function child(element: Parsed, ...names: readonly string[]): Parsed {
  let found = element;
  for (const name of names) {
    const next = found.children.find(({ tag }) => tag === NAMESPACE + name);
    assert.ok(next, `<${found.tag}> has <${name}>`);
    found = next;
  }
  return found;
}

/** All elements of a name, anywhere below. */
export function all(element: Parsed, name: string): Parsed[] {
  const own = element.children.filter(({ tag }) => tag === NAMESPACE + name);
  return [...own, ...element.children.flatMap((part) => all(part, name))];
}

const NAMESPACE = '{http://www.virtualbox.org/}';

interface Rule {
  /** Each with what its value looks like; required ones have a name that ends in `!`. */
  readonly attributes?: Readonly<Record<string, RegExp | ((value: string) => boolean)>>;
  /** Names and how often each may stand there at most; `!` demands one. */
  readonly children?: Readonly<Record<string, number>>;
  /** The children come in the order of their names in the rule. */
  readonly isOrdered?: boolean;
  readonly isText?: boolean;
  /** An attribute by which no two children are the same. */
  readonly unique?: string;
}

const uuid = /^\{(?!0{8}-(?:0{4}-){3}0{12}\})[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$/;
const boolean = /^(?:true|false)$/;
const number = /^\d{1,9}$/;
const filled = /./s;
const between = (min: number, max: number) => (value: string) =>
  number.test(value) && Number(value) >= min && Number(value) <= max;
const many = Number.POSITIVE_INFINITY;
const enabled: Rule = { attributes: { 'enabled!': boolean } };
const named: Rule = { attributes: { name: /^/ } };
const image: Rule = { attributes: { 'uuid!': uuid, 'location!': filled, type: /^Normal$/ } };

/**
 * What VirtualBox-settings.xsd demands of the elements that are written: an element or an attribute that has no rule is
 * refused. Types that stand in two places under one name (Image) are told apart by the parent.
 */
const rules: Readonly<Record<string, Rule>> = {
  VirtualBox: { attributes: { 'version!': /^1\.16$/ }, children: { 'Machine!': 1 } },
  Machine: {
    attributes: { 'uuid!': uuid, 'name!': filled, 'OSType!': filled, snapshotFolder: filled },
    children: { MediaRegistry: 1, Description: 1, 'Hardware!': 1, StorageControllers: 1 },
  },
  Description: { isText: true },
  MediaRegistry: { children: { HardDisks: 1, DVDImages: 1, FloppyImages: 1 } },
  HardDisks: { children: { HardDisk: many }, unique: 'uuid' },
  HardDisk: {
    attributes: {
      'uuid!': uuid,
      'location!': filled,
      'format!': /^(?:VMDK|VDI|VHD)$/,
      'type!': /^(?:Normal|Immutable|Writethrough|Shareable|Readonly|MultiAttach)$/,
    },
  },
  DVDImages: { children: { Image: many }, unique: 'uuid' },
  FloppyImages: { children: { Image: many }, unique: 'uuid' },
  'DVDImages/Image': image,
  'FloppyImages/Image': image,
  Hardware: {
    children: {
      CPU: 1,
      'Memory!': 1,
      Firmware: 1,
      Boot: 1,
      Display: 1,
      BIOS: 1,
      Network: 1,
      AudioAdapter: 1,
      RTC: 1,
    },
  },
  CPU: { attributes: { count: between(1, 64) }, children: { PAE: 1, LongMode: 1 }, isOrdered: true },
  PAE: enabled,
  LongMode: enabled,
  Memory: { attributes: { 'RAMSize!': between(4, 2_097_152) } },
  Firmware: { attributes: { 'type!': /^(?:BIOS|EFI|EFI32|EFI64|EFIDUAL)$/ } },
  Boot: { children: { Order: many }, unique: 'position' },
  Order: {
    attributes: { 'position!': between(1, 4), 'device!': /^(?:None|Floppy|DVD|HardDisk|Network)$/ },
  },
  Display: { attributes: { VRAMSize: between(0, 256) } },
  BIOS: { children: { ACPI: 1, IOAPIC: 1 } },
  ACPI: enabled,
  IOAPIC: enabled,
  Network: { children: { Adapter: 8 }, unique: 'slot' },
  Adapter: {
    attributes: {
      'slot!': between(0, 7),
      enabled: boolean,
      MACAddress: /^[0-9A-Fa-f][02468ACEace][0-9A-Fa-f]{10}$/,
      cable: boolean,
      type: /^(?:Am79C970A|Am79C973|Am79C960|82540EM|82543GC|82545EM|virtio)$/,
    },
    children: { NAT: 1, NATNetwork: 1, BridgedInterface: 1, InternalNetwork: 1 },
  },
  NAT: {},
  NATNetwork: named,
  BridgedInterface: named,
  InternalNetwork: named,
  AudioAdapter: { attributes: { enabled: boolean, 'driver!': /^Null$/ } },
  RTC: { attributes: { 'localOrUTC!': /^(?:local|UTC)$/ } },
  StorageControllers: { children: { StorageController: many }, unique: 'name' },
  StorageController: {
    attributes: {
      'name!': filled,
      'type!': /^(?:AHCI|LsiLogic|BusLogic|PIIX3|PIIX4|ICH6|LsiLogicSas|I82078|USB|NVMe|VirtioSCSI)$/,
      'PortCount!': number,
      useHostIOCache: boolean,
      Bootable: boolean,
    },
    children: { AttachedDevice: many },
  },
  AttachedDevice: {
    attributes: { type: /^(?:Floppy|DVD|HardDisk)$/, port: number, device: number },
    children: { Image: 1 },
  },
  'AttachedDevice/Image': { attributes: { 'uuid!': uuid } },
};

/** Asserts that a document follows the rules, and those of references: what is attached stands in the registry. */
export function assertSettings(root: Parsed): void {
  assert.equal(root.tag, `${NAMESPACE}VirtualBox`);
  follow(root, 'VirtualBox', '');
  const attached = all(root, 'AttachedDevice').flatMap((device) =>
    device.children.map((part) => part.attributes.uuid),
  );
  const registry = child(root, 'Machine', 'MediaRegistry');
  const registered = registry.children.flatMap((list) => list.children.map((part) => part.attributes.uuid));
  assert.deepEqual(attached.sort(), registered.sort());
  assert.equal(new Set(registered).size, registered.length);
  for (const controller of all(root, 'StorageController')) {
    const places = controller.children.map(({ attributes }) => `${attributes.port}:${attributes.device}`);
    assert.equal(new Set(places).size, places.length);
    for (const { attributes } of controller.children)
      assert.ok(Number(attributes.port) < Number(controller.attributes.PortCount));
  }
}

function follow(element: Parsed, name: string, parent: string): void {
  const rule = rules[`${parent}/${name}`] ?? rules[name];
  assert.ok(rule, `<${name}> in <${parent}> has a rule`);
  const { attributes = {}, children = {} } = rule;
  for (const [key, looks] of Object.entries(attributes)) {
    const value = element.attributes[key.replace('!', '')];
    if (value === undefined) assert.ok(!key.endsWith('!'), `<${name}> has ${key}`);
    else
      assert.ok(typeof looks === 'function' ? looks(value) : looks.test(value), `${name}/@${key}: ${value}`);
  }
  const allowed = Object.keys(attributes).map((key) => key.replace('!', ''));
  assert.deepEqual(
    Object.keys(element.attributes).filter((key) => !allowed.includes(key)),
    [],
    name,
  );
  if (rule.isText !== true) assert.equal(element.text.trim(), '', name);
  const names = element.children.map(({ tag }) => tag.replace(NAMESPACE, ''));
  const order = Object.keys(children).map((key) => key.replace('!', ''));
  for (const [key, most] of Object.entries(children)) {
    const count = names.filter((found) => found === key.replace('!', '')).length;
    assert.ok(count <= most && (count > 0 || !key.endsWith('!')), `<${name}> has ${count} <${key}>`);
  }
  assert.deepEqual(
    names.filter((found) => !order.includes(found)),
    [],
    name,
  );
  if (rule.isOrdered)
    assert.deepEqual(
      names,
      [...names].sort((a, b) => order.indexOf(a) - order.indexOf(b)),
    );
  if (rule.unique !== undefined) {
    const keys = element.children.map((part) => part.attributes[rule.unique ?? '']);
    assert.equal(new Set(keys).size, keys.length, `${name}/*/@${rule.unique}`);
  }
  for (const part of element.children) follow(part, part.tag.replace(NAMESPACE, ''), name);
}
