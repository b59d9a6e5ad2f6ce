/** Where something begins in a document: lines and characters, both from 1. */
export interface XmlPlace {
  readonly line: number;
  readonly column: number;
}

export interface XmlAttribute {
  readonly value: string;
  readonly place: XmlPlace;
}

export interface XmlElement {
  /** Without its prefix. */
  readonly name: string;
  /** The address of its namespace, empty where it has none. */
  readonly namespace: string;
  /** By name; one with a prefix as `{namespace}name`. Declarations of namespaces are no attributes. */
  readonly attributes: ReadonlyMap<string, XmlAttribute>;
  readonly children: readonly XmlElement[];
  /** All text inside, that of the children too: the string value of XPath. */
  readonly text: string;
  readonly place: XmlPlace;
}

/** The children of this name in the namespace of their parent. */
export function childrenNamed(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name && child.namespace === element.namespace);
}

/** The first element that these names lead to, one level each, whichever branch it stands on. */
export function elementAt(element: XmlElement, ...names: readonly string[]): XmlElement | undefined {
  const [name, ...rest] = names;
  if (name === undefined) return element;
  for (const child of childrenNamed(element, name)) {
    const found = elementAt(child, ...rest);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The value of an attribute; an empty one counts as none. */
export function attributeOf(element: XmlElement | undefined, name: string): string | undefined {
  return element?.attributes.get(name)?.value || undefined;
}

/** The text of the first element that the names lead to; an empty one counts as none. */
export function textAt(element: XmlElement, ...names: readonly string[]): string | undefined {
  return elementAt(element, ...names)?.text || undefined;
}

/** The children of this name in whatever namespace: for formats whose extensions mix them. */
export function anyChildren(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

/** The first element that these names lead to, one level each, in whatever namespaces. */
export function anyChild(element: XmlElement, ...names: readonly string[]): XmlElement | undefined {
  const [name, ...rest] = names;
  if (name === undefined) return element;
  for (const child of anyChildren(element, name)) {
    const found = anyChild(child, ...rest);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The value of an attribute without a prefix, else of one with any; an empty one counts as none. */
export function anyAttribute(element: XmlElement | undefined, name: string): string | undefined {
  const direct = attributeOf(element, name);
  if (direct !== undefined || element === undefined) return direct;
  for (const [key, { value }] of element.attributes)
    if (key.endsWith(`}${name}`) && value !== '') return value;
  return undefined;
}
