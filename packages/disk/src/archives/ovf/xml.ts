import { utf8Text } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import { OVF_BYTES_MAX, XML_ATTRIBUTE_COUNT_MAX, XML_DEPTH_MAX, XML_ELEMENT_COUNT_MAX } from './limits.ts';

const STRUCTURE = 'OVF descriptor';

/** A part of a text, in UTF-16 units; `to` is behind it. */
export interface TextRange {
  readonly from: number;
  readonly to: number;
}

export interface XmlElement {
  /** Without its namespace prefix. */
  readonly name: string;
  /** By their names as they are written, prefix included. */
  readonly attributes: ReadonlyMap<string, string>;
  /** Where the attributes stand in the text, with the blanks before them. */
  readonly attributeRanges: ReadonlyMap<string, TextRange>;
  readonly children: readonly XmlElement[];
  /** The element's own text, in one piece. */
  readonly text: string;
}

/** `attributes` and `text` while they are read. */
interface OpenElement extends XmlElement {
  readonly writtenName: string;
  readonly children: XmlElement[];
  text: string;
}

const NAME = '[\\p{L}_:][\\p{L}\\p{N}_:.\\-]*';
const startTag = new RegExp(`<(${NAME})`, 'uy');
const endTag = new RegExp(`</(${NAME})\\s*>`, 'uy');
const attributePattern = new RegExp(`\\s+(${NAME})\\s*=\\s*(?:"([^<"]*)"|'([^<']*)')`, 'uy');
const tagEnd = /\s*(\/?)>/y;
const declaration = /<\?xml\s[^?]*\?>/y;
const commentOrInstruction = /<!--(?:(?!--)[\s\S])*-->|<\?(?!xml[\s?])[^?]*(?:\?(?!>)[^?]*)*\?>/iy;
const characterData = /<!\[CDATA\[([\s\S]*?)\]\]>/y;
const text = /[^<]+/y;
/** The longest is the number of a character. */
const entity = /&([^;&]{1,9};)/y;

/**
 * Reads a document of elements, attributes and text, and gives its root. Whatever could make a short document
 * long or lead elsewhere, a DTD and entities, is refused. Throws ImageError.
 */
export function parseXml(bytes: Uint8Array): XmlElement {
  if (bytes.length > OVF_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `an OVF descriptor of ${bytes.length} bytes is above 1 MiB`, {
      structure: STRUCTURE,
    });
  }
  return new XmlParser(utf8Text(bytes)).document();
}

class XmlParser {
  readonly #input: string;
  #at = 0;
  #elementCount = 0;

  constructor(input: string) {
    this.#input = input;
  }

  document(): XmlElement {
    this.#take(declaration);
    this.#skipBetween();
    const open: OpenElement[] = [];
    for (;;) {
      const parent = open.at(-1);
      if (parent === undefined || this.#startsElement()) {
        const { element, isEmpty } = this.#start();
        parent?.children.push(element);
        if (!isEmpty) open.push(element);
        else if (parent === undefined) return this.#ended(element);
        if (open.length > XML_DEPTH_MAX) throw this.#limit(`deeper than ${XML_DEPTH_MAX}`);
        continue;
      }
      if (this.#content(parent)) continue;
      const end = this.#take(endTag);
      if (end?.[1] !== parent.writtenName) throw this.#malformed(`<${parent.writtenName}> is not closed`);
      open.pop();
      if (open.length === 0) return this.#ended(parent);
    }
  }

  #startsElement(): boolean {
    const next = this.#input[this.#at + 1];
    return this.#input[this.#at] === '<' && next !== '/' && next !== '!' && next !== '?';
  }

  #start(): { element: OpenElement; isEmpty: boolean } {
    const writtenName = this.#take(startTag)?.[1];
    if (writtenName === undefined) throw this.#malformed('an element is expected');
    if (++this.#elementCount > XML_ELEMENT_COUNT_MAX) {
      throw this.#limit(`of more than ${XML_ELEMENT_COUNT_MAX} elements`);
    }
    const attributes = new Map<string, string>();
    const attributeRanges = new Map<string, TextRange>();
    for (let from = this.#at; ; from = this.#at) {
      const found = this.#take(attributePattern);
      if (found === undefined) break;
      const [, name = '', double, single] = found;
      if (attributes.has(name)) throw this.#malformed(`the attribute ${name} stands there twice`);
      if (attributes.size === XML_ATTRIBUTE_COUNT_MAX) throw this.#limit('with too many attributes');
      attributes.set(name, this.#decoded(double ?? single ?? ''));
      attributeRanges.set(name, { from, to: this.#at });
    }
    const end = this.#take(tagEnd);
    if (end === undefined) throw this.#malformed(`<${writtenName}> is not well formed`);
    const name = localName(writtenName);
    const element = { name, writtenName, attributes, attributeRanges, children: [], text: '' };
    return { element, isEmpty: end[1] === '/' };
  }

  /** Takes text, a comment or the like inside an element; false when there is none. */
  #content(element: OpenElement): boolean {
    const plain = this.#take(text)?.[0];
    if (plain !== undefined) {
      element.text += this.#decoded(plain);
      return true;
    }
    const literal = this.#take(characterData)?.[1];
    if (literal !== undefined) element.text += literal;
    return literal !== undefined || this.#take(commentOrInstruction) !== undefined;
  }

  #skipBetween(): void {
    for (;;) {
      const from = this.#at;
      this.#take(/\s+/y);
      this.#take(commentOrInstruction);
      if (this.#at === from) break;
    }
    if (this.#input.startsWith('<!', this.#at)) {
      throw this.#malformed('the document has a DTD, which is not read');
    }
  }

  #ended(root: XmlElement): XmlElement {
    this.#skipBetween();
    if (this.#at < this.#input.length) throw this.#malformed('something stands behind the root element');
    return root;
  }

  /** The five entities that XML itself has, and characters by their numbers. */
  #decoded(raw: string): string {
    let decoded = '';
    let from = 0;
    // One after the other: `replace` would keep every match of a megabyte of them before it asks for the first.
    for (let at = raw.indexOf('&'); at >= 0; at = raw.indexOf('&', from)) {
      entity.lastIndex = at;
      const [written = '', name = ''] = entity.exec(raw) ?? [];
      const character = entities[name] ?? numberedCharacter(name);
      if (character === undefined) {
        throw this.#malformed(`${raw.slice(at, at + 20)} is an entity that is not known`);
      }
      decoded += raw.slice(from, at) + character;
      from = at + written.length;
    }
    return from === 0 ? raw : decoded + raw.slice(from);
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#input) ?? undefined;
    if (found !== undefined) this.#at = pattern.lastIndex;
    return found;
  }

  #malformed(what: string): ImageError {
    return new ImageError('IMAGE_MALFORMED', `the OVF descriptor is not the XML that is read: ${what}`, {
      structure: STRUCTURE,
      offsetBytes: this.#at,
    });
  }

  #limit(what: string): ImageError {
    return new ImageError('IMAGE_LIMIT', `an OVF descriptor ${what} is not read`, {
      structure: STRUCTURE,
      offsetBytes: this.#at,
    });
  }
}

const entities: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  'lt;': '<',
  'gt;': '>',
  'amp;': '&',
  'quot;': '"',
  'apos;': "'",
});

/** The character of `#60;` or `#x3c;`. */
function numberedCharacter(name: string): string | undefined {
  const [, hex, decimal] = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}));$/.exec(name) ?? [];
  const code = hex === undefined ? Number(decimal ?? Number.NaN) : Number.parseInt(hex, 16);
  const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
  return isCharacter ? String.fromCodePoint(code) : undefined;
}

function localName(written: string): string {
  return written.slice(written.indexOf(':') + 1);
}

/** The attribute of this name in the namespace of OVF (as it is nearly always prefixed), or in none. */
export function attributeOf(element: XmlElement, name: string): string | undefined {
  const direct = element.attributes.get(`ovf:${name}`) ?? element.attributes.get(name);
  if (direct !== undefined) return direct;
  for (const [written, value] of element.attributes) if (localName(written) === name) return value;
  return undefined;
}

/** The children of this name. */
export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

/** The text of the first child of this name, trimmed; undefined when there is none or it is empty. */
export function textOf(element: XmlElement, name: string): string | undefined {
  return childrenOf(element, name)[0]?.text.trim() || undefined;
}

/** All elements of this name below one, in document order. */
export function* descendants(element: XmlElement, name: string): Iterable<XmlElement> {
  for (const child of element.children) {
    if (child.name === name) yield child;
    yield* descendants(child, name);
  }
}

export function xmlText(value: string): string {
  return value.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
