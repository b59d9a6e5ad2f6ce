import { ImageError } from '@gantry/disk';
import { architectures } from '../../architectures.ts';
import { ownValue } from '../../own-value.ts';
import { busOfTarget, targetsFor } from '../../targets.ts';
import { readXml } from '../xml/read.ts';
import type { XmlElement, XmlPlace } from '../xml/tree.ts';
import { outsideOfFolder } from './confined.ts';
import { type ElementRule, imageRule } from './grammar.ts';
import {
  checksumDigits,
  ownDiskFormats,
  type VirtImage,
  type VirtImageBoot,
  type VirtImageDisk,
} from './image.ts';
import { defaultBus } from './machine.ts';
import { readVirtImage } from './read.ts';

export interface LintFinding {
  /** An `error` is what strict readers refuse, or what no machine can be made of. */
  readonly severity: 'error' | 'warning';
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The old grammar's least; whoever writes less most often means MiB. */
const MEMORY_KIB_MIN = 4000;
const togglable = ['pae', 'acpi', 'apic'];

/**
 * All that is wrong with a descriptor, or unwise, in the order of its lines: its strict form first (that of
 * docs/reference/virt-image.rng), and what no grammar sees. Throws IMAGE_MALFORMED or IMAGE_LIMIT for what is no XML.
 */
export function lintVirtImage(bytes: Uint8Array, file = 'descriptor'): LintFinding[] {
  const root = readXml(bytes, { file, structure: 'virt-image descriptor' });
  const findings = new Findings(strictErrors(root));
  try {
    const { image, warnings } = readVirtImage(bytes, file);
    for (const text of warnings) findings.addText('warning', text, file);
    checkSense(image, root.place, findings);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    findings.addText('error', error.message, file);
  }
  return findings.inOrder();
}

/** What of a document has not the strict form. */
export function strictErrors(root: XmlElement): LintFinding[] {
  const findings = new Findings([]);
  checkForm(root, findings);
  return findings.inOrder();
}

class Findings {
  readonly #found: LintFinding[];
  readonly #places: Set<string>;

  constructor(found: readonly LintFinding[]) {
    this.#found = [...found];
    this.#places = new Set(found.map(placeKey));
  }

  add(severity: LintFinding['severity'], { line, column }: XmlPlace, message: string): void {
    this.#found.push({ severity, line, column, message });
  }

  /** A message that begins with its place; the form may have told the same already. */
  addText(severity: LintFinding['severity'], text: string, file: string): void {
    const [, line = '1', column = '1', message = text] =
      /^(?::(\d+):(\d+))?: (.*)$/s.exec(text.slice(file.length)) ?? [];
    const place = { line: Number(line), column: Number(column) };
    if (!this.#places.has(placeKey(place))) this.add(severity, place, message);
  }

  inOrder(): LintFinding[] {
    return this.#found.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}

function placeKey({ line, column }: XmlPlace): string {
  return `${line}:${column}`;
}

function checkForm(root: XmlElement, findings: Findings): void {
  if (root.name === 'image' && root.namespace === '') checkElement(root, imageRule, findings);
  else findings.add('error', root.place, `the root is <${root.name}>, and not <image> without a namespace`);
}

function checkElement(element: XmlElement, rule: ElementRule, findings: Findings): void {
  const { name, attributes, place, children, text } = element;
  for (const [key, { value, place: at }] of attributes) {
    const known = rule.attributes[key];
    if (key.startsWith('{')) continue;
    if (known === undefined) findings.add('error', at, `<${name}> has no attribute ${key}`);
    else if (!known.pattern.test(value))
      findings.add('error', at, `${key} is ${known.is}, and not ${JSON.stringify(value)}`);
  }
  for (const [key, { isRequired }] of Object.entries(rule.attributes))
    if (isRequired && !attributes.has(key))
      findings.add('error', place, `<${name}> needs the attribute ${key}`);
  if (rule.text !== undefined && children.length === 0 && !rule.text.pattern.test(text))
    findings.add(
      'error',
      place,
      `<${name}> is ${rule.text.is}, and not ${JSON.stringify(text.slice(0, 80))}`,
    );
  if (rule.text === undefined && hasOwnText(element))
    findings.add('error', place, `<${name}> holds elements only, and no text`);
  checkChildren(element, rule, findings);
}

function checkChildren({ name, children, place }: XmlElement, rule: ElementRule, findings: Findings): void {
  let last = 0;
  const counts = rule.children.map(() => 0);
  for (const child of children) {
    if (child.namespace !== '' && rule.text === undefined) continue;
    const index = child.namespace === '' ? rule.children.findIndex((known) => known.name === child.name) : -1;
    const known = rule.children[index];
    if (known === undefined) {
      findings.add('error', child.place, `<${name}> holds no <${child.name}>`);
      continue;
    }
    if (index < last)
      findings.add(
        'error',
        child.place,
        `<${child.name}> has to stand before <${rule.children[last]?.name}>`,
      );
    last = Math.max(last, index);
    counts[index] = (counts[index] ?? 0) + 1;
    if (known.max === 1 && counts[index] === 2)
      findings.add('error', child.place, `<${name}> holds one <${child.name}> only`);
    checkElement(child, known.element, findings);
  }
  for (const [index, known] of rule.children.entries())
    if (known.min === 1 && counts[index] === 0)
      findings.add('error', place, `<${name}> needs a <${known.name}>`);
  if (name === 'os' && rule.children.some((known) => known.name === 'kernel'))
    checkLoaderOrKernel(children, place, findings);
}

function checkLoaderOrKernel(children: readonly XmlElement[], place: XmlPlace, findings: Findings): void {
  const has = (name: string) => children.some((child) => child.name === name && child.namespace === '');
  if (has('loader') === has('kernel'))
    findings.add('error', place, '<os> holds either a <loader> or a <kernel>');
  else if (has('loader') && (has('initrd') || has('cmdline')))
    findings.add('error', place, '<initrd> and <cmdline> belong to a <kernel>');
}

/** Text beside the children; their own is part of their parent's. */
function hasOwnText({ text, children }: XmlElement): boolean {
  const inside = children.reduce((sum, child) => sum + visibleLength(child.text), 0);
  return visibleLength(text) !== inside;
}

function visibleLength(text: string): number {
  return text.replaceAll(/[ \t\r\n]/g, '').length;
}

function checkSense(image: VirtImage, root: XmlPlace, findings: Findings): void {
  const { memoryKib } = image;
  if (memoryKib !== undefined && memoryKib < MEMORY_KIB_MIN)
    findings.add(
      'warning',
      root,
      `<memory> is KiB: ${memoryKib} of them are ${(memoryKib / 1024).toFixed(2)} MiB`,
    );
  const disks = new Map(image.disks.map((disk) => [disk.id, disk]));
  for (const boot of image.boots) checkBoot(boot, disks, findings);
  const used = new Set(image.boots.flatMap(({ drives }) => drives.map(({ disk }) => disk)));
  for (const disk of image.disks) {
    const place = disk.place ?? root;
    checkDisk(disk, place, findings);
    if (!used.has(disk.id)) findings.add('warning', place, `no boot has the disk ${JSON.stringify(disk.id)}`);
  }
}

function checkBoot(boot: VirtImageBoot, disks: ReadonlyMap<string, VirtImageDisk>, findings: Findings): void {
  const place = boot.place ?? { line: 1, column: 1 };
  if (!architectures.some((known) => known === boot.architecture))
    findings.add('warning', place, `the architecture ${JSON.stringify(boot.architecture)} is not known here`);
  if (boot.type === 'hvm' && boot.loader !== undefined)
    findings.add(
      'warning',
      place,
      'pygrub loads guests of Xen; the firmware of an hvm guest boots by itself',
    );
  const omitted = togglable.filter(
    (name) => boot.features[name] === undefined && (name !== 'pae' || boot.architecture === 'i686'),
  );
  if (boot.type === 'hvm' && omitted.length > 0) {
    const names = omitted.map((name) => `<${name}>`).join(', ');
    findings.add('warning', place, `readers do not agree what a guest gets that says nothing of ${names}`);
  }
  for (const name of Object.keys(boot.features).filter((key) => !togglable.includes(key)))
    findings.add(
      'warning',
      place,
      `the feature <${name}> is asked of the host, and no other is known than pae, acpi, apic`,
    );
  for (const path of [boot.kernel, boot.initrd]) {
    const why = path === undefined ? undefined : outsideOfFolder(path);
    if (why !== undefined) findings.add('error', place, `${JSON.stringify(path)} ${why}`);
  }
  checkTargets(boot, disks, findings);
}

function checkTargets(
  { type, drives }: VirtImageBoot,
  disks: ReadonlyMap<string, VirtImageDisk>,
  findings: Findings,
): void {
  const wishes = drives.map(({ disk, target }) => ({
    device: disks.get(disk)?.format === 'iso' ? ('cdrom' as const) : ('disk' as const),
    bus: (target === undefined ? undefined : busOfTarget(target)) ?? defaultBus(type),
    target,
  }));
  const seen = new Set<string>();
  for (const { disk, place = { line: 1, column: 1 } } of drives) {
    if (seen.has(disk)) findings.add('error', place, `the boot has the disk ${JSON.stringify(disk)} twice`);
    seen.add(disk);
  }
  try {
    targetsFor(wishes, ({ index, otherIndex, message }) => {
      const other = otherIndex === undefined ? undefined : drives[otherIndex]?.place;
      const where = other === undefined ? '' : `, first at ${other.line}:${other.column}`;
      findings.add('error', drives[index]?.place ?? { line: 1, column: 1 }, message + where);
      return new TargetsRefused();
    });
  } catch (error) {
    if (!(error instanceof TargetsRefused)) throw error;
  }
}

class TargetsRefused extends Error {}

function checkDisk(disk: VirtImageDisk, place: XmlPlace, findings: Findings): void {
  const { file, use, sizeMib, format, checksums } = disk;
  const why = outsideOfFolder(file);
  if (why !== undefined) findings.add('error', place, `${JSON.stringify(file)} ${why}`);
  if (use !== 'system' && format === 'iso')
    findings.add('warning', place, 'an iso is never made: its use should be system');
  else if (use !== 'system' && sizeMib === undefined)
    findings.add('warning', place, `a disk for ${use} use without a size cannot be made where it is missing`);
  if (ownDiskFormats.includes(format))
    findings.add(
      'warning',
      place,
      `the format ${format} is known to Gantry, and not to the tools that made virt-image`,
    );
  for (const [type, digits] of Object.entries(checksums)) {
    const count = ownValue(checksumDigits, type);
    if (count !== undefined && digits.length !== count)
      findings.add('error', place, `a ${type} has ${count} hexadecimal digits, and not ${digits.length}`);
  }
}
