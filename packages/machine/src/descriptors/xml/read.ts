import { ImageError, type ImageErrorCode } from '@gantry/disk';
import { SaxesParser } from 'saxes';
import { xmlText } from './decode.ts';
import { MESSAGE_CHARACTERS_MAX, XML_BYTES_MAX, XML_DEPTH_MAX } from './limits.ts';
import type { XmlAttribute, XmlElement, XmlPlace } from './tree.ts';

export interface XmlReadOptions {
  /** What messages call the document: its file's name. */
  readonly file: string;
  /** For errors: `virt-image descriptor`. */
  readonly structure: string;
}

interface OpenElement extends XmlElement {
  readonly attributes: Map<string, XmlAttribute>;
  readonly children: XmlElement[];
  text: string;
  namespace: string;
}

const XMLNS = 'http://www.w3.org/2000/xmlns/';

/**
 * Reads an XML 1.0 document with namespaces into a small tree, and gives its root. A document type declaration is
 * refused, and with it all that can be declared in one. Throws IMAGE_MALFORMED with line and column, IMAGE_LIMIT,
 * IMAGE_UNSUPPORTED for an encoding that is not read.
 */
export function readXml(bytes: Uint8Array, options: XmlReadOptions): XmlElement {
  const { file, structure } = options;
  if (bytes.length > XML_BYTES_MAX) {
    throw new ImageError(
      'IMAGE_LIMIT',
      `${file} has ${bytes.length} bytes, and no descriptor more than 1 MiB`,
      {
        structure,
      },
    );
  }
  return new TreeReader(xmlText(bytes, structure), options).root();
}

/** A message about a place of a document, as compilers write them: `vm.xml:3:14: what`. A very long one is cut. */
export function atPlace(file: string, place: XmlPlace | undefined, message: string): string {
  const text =
    message.length > MESSAGE_CHARACTERS_MAX
      ? `${message.slice(0, MESSAGE_CHARACTERS_MAX).toWellFormed()}…`
      : message;
  return place === undefined ? `${file}: ${text}` : `${file}:${place.line}:${place.column}: ${text}`;
}

class TreeReader {
  readonly #text: string;
  readonly #options: XmlReadOptions;
  readonly #lineStarts: readonly number[];
  readonly #open: OpenElement[] = [];
  #root: XmlElement | undefined;
  /** A place that was asked for last: where in the text, and its column. */
  #counted = { index: 0, column: 1 };
  /** Where the part of the present start tag that was read ends. */
  #tagEnd = 0;
  #attributePlaces = new Map<string, XmlPlace>();

  constructor(text: string, options: XmlReadOptions) {
    this.#text = text;
    this.#options = options;
    this.#lineStarts = [
      0,
      ...[...text.matchAll(/\r\n|\r|\n/g)].map(({ index, 0: end }) => index + end.length),
    ];
  }

  root(): XmlElement {
    // Messages of the parser come without its own idea of the place.
    const parser = new SaxesParser({ xmlns: true, position: false });
    const append = (text: string) => {
      for (const element of this.#open) element.text += text;
    };
    parser.on('error', (error) => {
      throw this.#refused('IMAGE_MALFORMED', parser.position - 1, error.message);
    });
    parser.on('doctype', () => {
      const at = Math.max(0, this.#text.search(/<!DOCTYPE/));
      throw this.#refused('IMAGE_MALFORMED', at, 'a document type declaration is refused');
    });
    parser.on('opentagstart', ({ name }) => this.#start(name, parser.position - 1));
    parser.on('attribute', ({ name }) => {
      const at = this.#text.indexOf(name, this.#tagEnd);
      this.#attributePlaces.set(name, this.#placeOf(at));
      this.#tagEnd = parser.position;
    });
    parser.on('opentag', (tag) => {
      const element = this.#open.at(-1);
      if (element === undefined) return;
      element.namespace = tag.uri;
      for (const { name, local, uri, value } of Object.values(tag.attributes)) {
        const place = this.#attributePlaces.get(name);
        if (uri !== XMLNS && place !== undefined)
          element.attributes.set(uri === '' ? local : `{${uri}}${local}`, { value, place });
      }
    });
    parser.on('text', append);
    parser.on('cdata', append);
    parser.on('closetag', () => {
      const element = this.#open.pop();
      const parent = this.#open.at(-1);
      if (parent === undefined) this.#root = element;
      else if (element !== undefined) parent.children.push(element);
    });
    parser.write(this.#text).close();
    if (this.#root === undefined) throw this.#refused('IMAGE_MALFORMED', 0, 'there is no element');
    return this.#root;
  }

  #start(writtenName: string, nameEnd: number): void {
    const at = nameEnd - writtenName.length - 1;
    if (this.#open.length >= XML_DEPTH_MAX)
      throw this.#refused('IMAGE_LIMIT', at, `elements nest deeper than ${XML_DEPTH_MAX}`);
    this.#tagEnd = nameEnd;
    this.#attributePlaces = new Map();
    this.#open.push({
      name: writtenName.slice(writtenName.indexOf(':') + 1),
      namespace: '',
      attributes: new Map(),
      children: [],
      text: '',
      place: this.#placeOf(at),
    });
  }

  #refused(code: ImageErrorCode, at: number, message: string): ImageError {
    const { file, structure } = this.#options;
    return new ImageError(code, atPlace(file, this.#placeOf(at), message.replace(/\.$/, '')), {
      structure,
      hint: 'the file is not what such a descriptor looks like: correct it at this place',
    });
  }

  /** Places are asked for in their order, but for errors: each character of a line is counted once. */
  #placeOf(index: number): XmlPlace {
    const lineIndex = this.#lineIndexOf(index);
    const lineStart = this.#lineStarts[lineIndex] ?? 0;
    const { index: from, column } =
      this.#counted.index >= lineStart && this.#counted.index <= index
        ? this.#counted
        : { index: lineStart, column: 1 };
    const place = { line: lineIndex + 1, column: column + characterCount(this.#text, from, index) };
    this.#counted = { index: Math.max(index, 0), column: place.column };
    return place;
  }

  #lineIndexOf(index: number): number {
    let low = 0;
    let high = this.#lineStarts.length;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#lineStarts[middle] ?? 0) <= index) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Characters, not the halves that some of them have in a string. */
function characterCount(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = from; at < to; count++) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  return count;
}
