import { stat } from 'node:fs/promises';
import {
  type ByteSource,
  type Disk,
  type Format,
  fileSource,
  formatNamed,
  formats,
  httpSource,
  type OpenOptions,
  openDisk,
  probeFormat,
  type ReferenceGate,
  type ResolvedReference,
  requireUnchanged,
} from '@gantry/disk';
import { usageError } from '../../errors/command-error.ts';
import { isImageError } from '../../errors/describe.ts';
import { withFolder } from './folder-references.ts';

export interface ImageFilesOptions {
  /** `--reference` values: `NAME=[FORMAT:]FILE`. */
  readonly reference?: readonly string[] | undefined;
  /** A folder whose files are supplied under their own names. */
  readonly referencesFrom?: string | undefined;
}

/** An image that was opened: the file's bytes, and the disk in it. */
export interface OpenImage {
  readonly source: ByteSource;
  readonly disk: Disk;
}

/** The images of one command, and every file that was opened for them. */
export class ImageFiles {
  readonly #signal: AbortSignal;
  readonly #references: ReferenceGate;
  readonly #disks: Disk[] = [];
  /** Closed by us. */
  readonly #own: ByteSource[] = [];
  /** All, also those that a disk closes. */
  readonly #sources: { readonly file: string; readonly source: ByteSource }[] = [];

  constructor(options: ImageFilesOptions, signal: AbortSignal) {
    this.#signal = signal;
    const supplied = (options.reference ?? []).map((text) => this.#parseReference(text));
    this.#references = withFolder(new Map(supplied), options.referencesFrom, (file) =>
      this.#openSource(file),
    );
  }

  /** Opens an image as a disk; `format` is what the user declares it to be. */
  async open(file: string, format: string | undefined): Promise<OpenImage> {
    if (format !== undefined) requireFormatName(format, '--from');
    const source = await this.#openOwn(file);
    const disk = await inFile(file, () =>
      openDisk(source, { format, references: this.#references, signal: this.#signal }),
    );
    this.#disks.push(disk);
    return { source, disk };
  }

  /** Works on the file of an image that may be too damaged to be opened as a disk. */
  async examine<Result>(
    file: string,
    format: string | undefined,
    work: (source: ByteSource, format: Format, options: OpenOptions) => Promise<Result>,
  ): Promise<Result> {
    if (format !== undefined) requireFormatName(format, '--from');
    const source = await this.#openOwn(file);
    return inFile(file, async () => {
      const known = format === undefined ? await probeFormat(source, this.#signal) : formatNamed(format);
      return work(source, known, { references: this.#references, signal: this.#signal });
    });
  }

  /** The local files among those that were opened. */
  get localFiles(): readonly string[] {
    return this.#sources.map(({ file }) => file).filter((file) => !isHttpAddress(file));
  }

  /** Throws STORE_CHANGED when any of the files was written to since it was opened. */
  async requireUnchanged(): Promise<void> {
    for (const { source } of this.#sources) await requireUnchanged(source);
  }

  async close(): Promise<void> {
    for (const disk of this.#disks) await disk.close();
    for (const source of this.#own) await source.close();
  }

  async #openOwn(file: string): Promise<ByteSource> {
    const source = await this.#openSource(file);
    this.#own.push(source);
    return source;
  }

  async #openSource(file: string): Promise<ByteSource> {
    if (file === '-') {
      throw usageError('an image is read at any offset: it cannot come from standard input', 'name a file');
    }
    const source = isHttpAddress(file)
      ? await httpSource(file, { signal: this.#signal })
      : await openFile(file);
    this.#sources.push({ file, source });
    return source;
  }

  #parseReference(text: string): [string, () => Promise<ResolvedReference>] {
    const at = text.indexOf('=');
    if (at < 1 || at === text.length - 1) {
      throw usageError(`--reference ${JSON.stringify(text)} is not NAME=[FORMAT:]FILE`);
    }
    const name = text.slice(0, at);
    const value = text.slice(at + 1);
    const format = formats.find((known) => value.startsWith(`${known.name}:`))?.name;
    const file = format === undefined ? value : value.slice(format.length + 1);
    return [name, async () => ({ source: await this.#openSource(file), format })];
  }
}

/** Waiting for the writer of a pipe would hang; its bytes can be read only once anyway. */
async function openFile(file: string): Promise<ByteSource> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isFIFO() || found?.isCharacterDevice() || found?.isSocket()) {
    throw usageError(
      `${file} is a pipe, a socket or a terminal: an image is read at any offset`,
      'name a file',
    );
  }
  return fileSource(file);
}

export function isHttpAddress(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/** Throws USAGE for a name that is no format's. */
export function requireFormatName(name: string, flag: string): void {
  if (formats.some((format) => format.name === name)) return;
  const names = formats.map((format) => format.name).join(', ');
  throw usageError(`${flag}: there is no format named ${JSON.stringify(name)}`, `use one of ${names}`);
}

/** Says of which file an image error speaks. */
async function inFile<Result>(file: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (isImageError(error)) error.message = `${file}: ${error.message}`;
    throw error;
  }
}
