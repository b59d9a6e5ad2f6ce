/** Which parts of a range have been filled, in any order and none twice. */
export class Coverage {
  readonly #lengthBytes: number;
  /** Apart, in order, as [start, end). */
  readonly #parts: { start: number; end: number }[] = [];

  constructor(lengthBytes: number) {
    this.#lengthBytes = lengthBytes;
  }

  get isWhole(): boolean {
    const [first] = this.#parts;
    return this.#lengthBytes === 0 || (first?.start === 0 && first.end === this.#lengthBytes);
  }

  /** False when the part lies outside of the range, or something of it was filled before. */
  add(start: number, lengthBytes: number): boolean {
    const end = start + lengthBytes;
    if (start < 0 || lengthBytes <= 0 || end > this.#lengthBytes) return false;
    // Nearly always the last place: servers answer in order.
    let index = this.#parts.length;
    while (index > 0 && (this.#parts[index - 1]?.start ?? 0) >= start) index--;
    const before = this.#parts[index - 1];
    const after = this.#parts[index];
    if ((before !== undefined && before.end > start) || (after !== undefined && after.start < end))
      return false;
    const joinsBefore = before?.end === start;
    const joinsAfter = after?.start === end;
    if (joinsBefore && joinsAfter) {
      before.end = after.end;
      this.#parts.splice(index, 1);
    } else if (joinsBefore) before.end = end;
    else if (joinsAfter) after.start = start;
    else this.#parts.splice(index, 0, { start, end });
    return true;
  }
}
