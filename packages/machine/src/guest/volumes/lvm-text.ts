import { malformed, tooMany } from '../fields.ts';

/** A section of LVM2's metadata: `name { key = value … }`. */
export interface LvmSection {
  readonly values: ReadonlyMap<string, LvmValue>;
  readonly sections: ReadonlyMap<string, LvmSection>;
}

export type LvmValue = string | number | readonly (string | number)[];

const DEPTH_MAX = 8;
const TOKEN_COUNT_MAX = 1_000_000;
const STRUCTURE = 'LVM2 metadata';

/** The text of LVM2's metadata (lvm.conf(5) has the grammar). Throws IMAGE_MALFORMED. */
export function parseLvmText(text: string): LvmSection {
  const tokens = tokensOf(text);
  const top = section(tokens, 0);
  if (tokens.next() !== undefined) throw malformed(STRUCTURE, 'something follows its end');
  return top;
}

class Tokens {
  readonly #list: readonly string[];
  #at = 0;

  constructor(list: readonly string[]) {
    this.#list = list;
  }

  peek(): string | undefined {
    return this.#list[this.#at];
  }

  next(): string | undefined {
    return this.#list[this.#at++];
  }

  expect(token: string): void {
    const found = this.next();
    if (found !== token)
      throw malformed(STRUCTURE, `${JSON.stringify(found ?? 'its end')} instead of ${token}`);
  }
}

/** Strings keep their quote in front. */
function tokensOf(text: string): Tokens {
  const pattern = /\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|([A-Za-z0-9_.+/-]+)|([{}[\]=,])/gy;
  const list: string[] = [];
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) throw malformed(STRUCTURE, `a character that has no place there, at ${at}`);
    const [, quoted, word, mark] = match;
    if (quoted !== undefined) list.push(`"${quoted.replace(/\\(.)/g, '$1')}`);
    else if (word !== undefined || mark !== undefined) list.push(word ?? mark ?? '');
    if (list.length > TOKEN_COUNT_MAX) throw tooMany(STRUCTURE, TOKEN_COUNT_MAX);
  }
  return new Tokens(list);
}

function section(tokens: Tokens, depth: number): LvmSection {
  if (depth > DEPTH_MAX) throw tooMany(`${STRUCTURE}: sections in each other`, DEPTH_MAX);
  const values = new Map<string, LvmValue>();
  const sections = new Map<string, LvmSection>();
  for (let token = tokens.peek(); token !== undefined && token !== '}'; token = tokens.peek()) {
    tokens.next();
    if (tokens.peek() === '{') {
      tokens.next();
      sections.set(token, section(tokens, depth + 1));
      tokens.expect('}');
    } else {
      tokens.expect('=');
      values.set(token, value(tokens));
    }
  }
  return { values, sections };
}

function value(tokens: Tokens): LvmValue {
  if (tokens.peek() !== '[') return scalar(tokens.next());
  tokens.next();
  const list: (string | number)[] = [];
  while (tokens.peek() !== ']') {
    list.push(scalar(tokens.next()));
    if (tokens.peek() !== ',') break;
    tokens.next();
  }
  tokens.expect(']');
  return list;
}

function scalar(token: string | undefined): string | number {
  if (token?.startsWith('"')) return token.slice(1);
  const number = Number(token);
  if (token === undefined || !Number.isFinite(number)) throw malformed(STRUCTURE, 'a value that is none');
  return number;
}
