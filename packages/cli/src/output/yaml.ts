/** Plain data, as it comes from JSON. */
export type Plain =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly Plain[]
  | { readonly [key: string]: Plain };

/** Plain data as a YAML 1.2 document, block style, without markers. Undefined members are left out. */
export function yamlText(value: Plain): string {
  return isCollection(value) ? `${block(value, '')}\n` : `${scalar(value)}\n`;
}

type Collection = readonly Plain[] | { readonly [key: string]: Plain };

function isCollection(value: Plain): value is Collection {
  return typeof value === 'object' && value !== null;
}

function isList(value: Collection): value is readonly Plain[] {
  return Array.isArray(value);
}

function block(value: Collection, indent: string): string {
  const lines = isList(value)
    ? value.map((item) => `${indent}- ${behindDash(item, `${indent}  `)}`)
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${indent}${scalar(key)}:${entry(item, indent)}`);
  if (lines.length === 0) return indent + (isList(value) ? '[]' : '{}');
  return lines.join('\n');
}

function entry(value: Plain, indent: string): string {
  if (!isCollection(value)) return ` ${scalar(value)}`;
  const text = block(value, `${indent}  `);
  return isEmpty(text) ? ` ${text.trim()}` : `\n${text}`;
}

/** A collection begins on the line of its dash. */
function behindDash(value: Plain, indent: string): string {
  return isCollection(value) ? block(value, indent).slice(indent.length) : scalar(value);
}

function isEmpty(text: string): boolean {
  const trimmed = text.trim();
  return trimmed === '[]' || trimmed === '{}';
}

/** Words that a YAML 1.1 reader takes for something else than text. */
const TAKEN = /^(?:null|true|false|yes|no|on|off|y|n|nan|inf|~)$/i;
const PLAIN_TEXT = /^[A-Za-z_/][\w ./@+-]*$/;
/** Not printable in YAML, and JSON leaves them as they are. */
const UNPRINTABLE = /[\u007f-\u009f\ufeff\u2028\u2029]/g;

function scalar(value: string | number | boolean | null | undefined): string {
  if (typeof value !== 'string') return String(value ?? null);
  if (PLAIN_TEXT.test(value) && !value.endsWith(' ') && !TAKEN.test(value)) return value;
  return JSON.stringify(value).replace(
    UNPRINTABLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
