import type { Writable } from 'node:stream';
import { printable } from './printable.ts';
import { type Column, tableText } from './table.ts';
import { writeAll } from './write.ts';
import { type Plain, yamlText } from './yaml.ts';

export const outputFormats = ['table', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

type PlainRecord = { readonly [key: string]: Plain };

/** Lines are handed over in parts of about this many characters. */
const PART_CHARACTERS = 64 * 1024;

/** Data for standard output, in the form that `-o` asks for. */
export class Output {
  readonly format: OutputFormat;
  readonly #stream: Writable;

  constructor(format: OutputFormat, stream: Writable) {
    this.format = format;
    this.#stream = stream;
  }

  /** One thing; `lines` is what a person reads of it, the record's own members when not given. */
  async record(record: PlainRecord, lines: readonly string[] = recordLines(record)): Promise<void> {
    if (this.format === 'json') await this.#write(`${JSON.stringify(record, null, 2)}\n`);
    else if (this.format === 'yaml') await this.#write(yamlText(record));
    else await this.#write(lines.map((line) => `${line}\n`).join(''));
  }

  /** Many things of a kind, all of them known. JSON: one array. */
  async list<Item extends object>(items: readonly Item[], columns: readonly Column<Item>[]): Promise<void> {
    const plain = items as readonly Plain[];
    if (this.format === 'json') await this.#write(`${JSON.stringify(plain, null, 2)}\n`);
    else if (this.format === 'yaml') await this.#write(yamlText(plain));
    else await this.#write(tableText(items, columns));
  }

  /** Things as they are found, however many: a line for each, in JSON too. */
  async stream<Item extends PlainRecord>(
    items: AsyncIterable<Item>,
    heading: string,
    line: (item: Item) => string,
  ): Promise<void> {
    let part = this.format === 'table' ? `${heading}\n` : '';
    let isEmpty = true;
    for await (const item of items) {
      isEmpty = false;
      if (this.format === 'json') part += `${JSON.stringify(item)}\n`;
      else if (this.format === 'yaml') part += yamlText([item]);
      else part += `${line(item)}\n`;
      if (part.length < PART_CHARACTERS) continue;
      await this.#write(part);
      part = '';
    }
    if (isEmpty && this.format === 'yaml') part += yamlText([]);
    await this.#write(part);
  }

  async #write(text: string): Promise<void> {
    if (text !== '') await writeAll(this.#stream, text);
  }
}

/** `name: value` lines, deeper members indented below their name. */
export function recordLines(record: PlainRecord, indent = ''): string[] {
  const members = Object.entries(record).filter(([, value]) => value !== undefined);
  return members.flatMap(([name, value]) => valueLines(`${indent}${printable(name)}:`, value, indent));
}

function valueLines(label: string, value: Plain, indent: string): string[] {
  if (typeof value !== 'object' || value === null) return [`${label} ${valueText(value)}`];
  if (!Array.isArray(value)) {
    const lines = recordLines(value as PlainRecord, `${indent}  `);
    return lines.length === 0 ? [`${label} -`] : [label, ...lines];
  }
  if (value.length === 0) return [`${label} -`];
  if (value.every((item) => typeof item !== 'object' || item === null)) {
    return [`${label} ${value.map(valueText).join(', ')}`];
  }
  return [label, ...value.flatMap((item, index) => valueLines(`${indent}  ${index}:`, item, `${indent}  `))];
}

function valueText(value: Plain): string {
  return value === null || value === undefined || value === '' ? '-' : printable(String(value));
}
