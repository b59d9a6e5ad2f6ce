interface Place {
  readonly start: number;
  readonly end: number;
}

/**
 * The sectors of an extent that hold metadata, where a grain cannot be: a few places of any length and the
 * grain tables, which all have one. Ends are exclusive.
 */
export class ReservedPlaces {
  readonly #places: readonly Place[];
  /** First sectors of the tables, ascending. */
  readonly #tables: Uint32Array;
  readonly #tableSectors: number;
  readonly #end: number;

  constructor(places: readonly Place[], tables: Uint32Array, tableSectors: number) {
    this.#places = places;
    this.#tables = tables;
    this.#tableSectors = tableSectors;
    const tablesEnd = tables.length === 0 ? 0 : (tables[tables.length - 1] ?? 0) + tableSectors;
    this.#end = Math.max(tablesEnd, ...places.map((place) => place.end));
  }

  overlaps(start: number, end: number): boolean {
    if (start >= this.#end) return false;
    if (this.#places.some((place) => start < place.end && place.start < end)) return true;
    const tables = this.#tables;
    let low = 0;
    let high = tables.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((tables[middle] ?? 0) < end) low = middle + 1;
      else high = middle;
    }
    return low > 0 && (tables[low - 1] ?? 0) + this.#tableSectors > start;
  }
}
