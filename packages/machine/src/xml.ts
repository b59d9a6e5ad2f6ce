import { ImageError } from '@gantry/disk';

/** One element with its attributes, in order; those that are undefined are left away. */
export interface XmlNode {
  readonly name: string;
  readonly attributes?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly children?: readonly XmlNode[] | string;
}

/** A document of two-space indentation. Throws IMAGE_OPTION for a text that XML 1.0 cannot hold. */
export function xmlDocument(root: XmlNode): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${element(root, '')}`;
}

function element({ name, attributes = {}, children = [] }: XmlNode, indent: string): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escaped(String(value))}"`);
  const start = `${indent}<${name}${written.join('')}`;
  if (typeof children === 'string') return `${start}>${escaped(children)}</${name}>\n`;
  if (children.length === 0) return `${start}/>\n`;
  const inner = children.map((child) => element(child, `${indent}  `)).join('');
  return `${start}>\n${inner}${indent}</${name}>\n`;
}

/** For text and for attributes, where a bare line end or tab would be read as a space. */
function escaped(text: string): string {
  if (!isXmlText(text)) {
    throw new ImageError('IMAGE_OPTION', `${JSON.stringify(text.slice(0, 80))} cannot stand in XML`, {
      structure: 'XML text',
      hint: 'leave control characters away',
    });
  }
  return text.replace(/[<>&"'\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** XML 1.0, production 2: no control characters but three, no halves of characters, not U+FFFE and U+FFFF. */
function isXmlText(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return text.isWellFormed() && !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text);
}
