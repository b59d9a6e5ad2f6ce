import { type ByteSource, ImageError, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { malformed, tooMany } from '../fields.ts';
import { RUN_COUNT_MAX } from '../limits.ts';
import type { FileRun } from './file-system.ts';

/** Where a file stands in its volume. What no run covers reads as zeros. */
export class Runs {
  readonly #list: FileRun[] = [];
  readonly #structure: string;
  readonly #budget: Budget;

  constructor(structure: string, budget: Budget) {
    this.#structure = structure;
    this.#budget = budget;
  }

  /** Runs come in the order of the file; neighbours are joined. Throws IMAGE_MALFORMED for another order. */
  add(fileBytes: number, volumeBytes: number, lengthBytes: number): void {
    this.#budget.step();
    if (!(lengthBytes >= 0) || !Number.isSafeInteger(fileBytes + lengthBytes + volumeBytes))
      throw malformed(this.#structure, 'a run lies outside any disk');
    if (lengthBytes === 0) return;
    const last = this.#list.at(-1);
    const end = last === undefined ? 0 : last.fileBytes + last.lengthBytes;
    if (fileBytes < end) throw malformed(this.#structure, 'its runs overlap');
    if (last !== undefined && fileBytes === end && volumeBytes === last.volumeBytes + last.lengthBytes) {
      this.#list[this.#list.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
      return;
    }
    if (this.#list.length >= RUN_COUNT_MAX) throw tooMany(this.#structure, RUN_COUNT_MAX);
    this.#list.push({ fileBytes, volumeBytes, lengthBytes });
  }

  /** The runs, for structures that are read one after the other. */
  get list(): readonly FileRun[] {
    return this.#list;
  }

  /** The file's bytes as a source. */
  source(volume: ByteSource, lengthBytes: number): ByteSource {
    const runs = this.#list;
    const structure = this.#structure;
    return {
      name: structure,
      lengthBytes,
      async read(offsetBytes, into) {
        let at = 0;
        for (let index = firstRunBehind(runs, offsetBytes); at < into.length; index++) {
          const run = runs[index];
          const place = offsetBytes + at;
          const nextBytes = run === undefined ? offsetBytes + into.length : Math.max(run.fileBytes, place);
          const hole = into.subarray(at, Math.min(into.length, nextBytes - offsetBytes));
          hole.fill(0);
          at += hole.length;
          if (run === undefined || at === into.length) return;
          const inside = offsetBytes + at - run.fileBytes;
          const part = into.subarray(at, at + run.lengthBytes - inside);
          if (run.volumeBytes + inside + part.length > volume.lengthBytes)
            throw malformed(structure, 'a part of it lies behind the end of the volume');
          await volume.read(run.volumeBytes + inside, part);
          at += part.length;
        }
      },
      async close() {},
    };
  }
}

/** Index of the first run that ends behind a place. */
function firstRunBehind(runs: readonly FileRun[], offsetBytes: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const run = runs[middle];
    if (run !== undefined && run.fileBytes + run.lengthBytes <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** All of a source that is no longer than a limit. Throws IMAGE_LIMIT for a longer one. */
export async function wholeOf(
  source: ByteSource,
  limitBytes: number,
  structure: string,
): Promise<Uint8Array> {
  if (source.lengthBytes > limitBytes)
    throw new ImageError(
      'IMAGE_LIMIT',
      `${structure} has ${source.lengthBytes} bytes; ${limitBytes} are read`,
      {
        structure,
      },
    );
  return readStructure(source, 0, source.lengthBytes, structure);
}
