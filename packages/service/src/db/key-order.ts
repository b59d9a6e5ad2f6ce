const LAST_CODE_POINT = 0x10ffff;
const FIRST_SURROGATE = 0xd800;
const LAST_SURROGATE = 0xdfff;

/**
 * The first text, in the order of UTF-8 bytes, after every text that begins with `prefix`; undefined when none
 * is. The keys with a prefix are those from the prefix to this, exclusively. (UTF-8 sorts as code points do;
 * JavaScript's own comparison, by UTF-16 units, does not.)
 */
export function keyAfterPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  for (;;) {
    const last = points.pop();
    if (last === undefined) return undefined;
    if (last === LAST_CODE_POINT) continue;
    const next = last + 1;
    points.push(next >= FIRST_SURROGATE && next <= LAST_SURROGATE ? LAST_SURROGATE + 1 : next);
    return points.map((point) => String.fromCodePoint(point)).join('');
  }
}
