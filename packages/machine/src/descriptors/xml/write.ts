/** An element to write. An attribute or a child that is undefined is left away. */
export interface XmlNode {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
  /** Elements, or text alone: white space that is not in it is never added to a text. */
  readonly content: readonly XmlNode[] | string;
}

type Attributes = XmlNode['attributes'];
type Content = string | number | readonly (XmlNode | undefined)[];

/** An element with attributes and content: a text, a number or elements. */
export function xml(name: string, attributes: Attributes = {}, content: Content = []): XmlNode {
  if (typeof content === 'string' || typeof content === 'number')
    return { name, attributes, content: String(content) };
  return { name, attributes, content: content.filter((child) => child !== undefined) };
}

/** An element for a value that may not be there. */
export function xmlIf(name: string, content: string | number | undefined): XmlNode | undefined {
  return content === undefined ? undefined : xml(name, {}, content);
}

/** The document, indented by two blanks, in UTF-8 when encoded so. Texts come back from a reader as they were. */
export function xmlDocument(root: XmlNode): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${elementText(root, '')}`;
}

function elementText({ name, attributes, content }: XmlNode, indent: string): string {
  const pairs = Object.entries(attributes).filter(([, value]) => value !== undefined);
  const start = `${indent}<${name}${pairs.map(([key, value]) => ` ${key}="${escaped(String(value))}"`).join('')}`;
  if (content.length === 0) return `${start}/>\n`;
  if (typeof content === 'string') return `${start}>${escaped(content)}</${name}>\n`;
  const inside = content.map((child) => elementText(child, `${indent}  `)).join('');
  return `${start}>\n${inside}${indent}</${name}>\n`;
}

const references: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  // A reader makes blanks and line ends of these, unless they are written as numbers.
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};

function escaped(text: string): string {
  return xmlCharacters(text).replace(/[&<>"\t\n\r]/g, (character) => references[character] ?? character);
}

/** The text with each character that XML 1.0 has no place for (its `Char`) replaced by U+FFFD. */
export function xmlCharacters(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd');
}
