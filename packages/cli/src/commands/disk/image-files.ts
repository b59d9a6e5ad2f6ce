import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import {
  type ByteSource,
  byteChunks,
  type Disk,
  type Format,
  fileSource,
  formatNamed,
  formats,
  httpSource,
  isNbdAddress,
  type NbdSource,
  nbdSource,
  type OpenOptions,
  openDisk,
  probeFormat,
  type ReferenceGate,
  type ResolvedReference,
  requireUnchanged,
  spooledSource,
} from '@gantry/disk';
import { usageError } from '../../errors/command-error.ts';
import { isImageError } from '../../errors/describe.ts';
import { arrivingName, isArriving, openArriving } from './arriving.ts';
import { withFolder } from './folder-references.ts';

export interface ImageFilesOptions {
  /** `--reference` values: `NAME=[FORMAT:]FILE`. */
  readonly reference?: readonly string[] | undefined;
  /** A folder whose files are supplied under their own names. */
  readonly referencesFrom?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly member?: string | undefined;
  /** Length in bytes of what comes through a pipe. */
  readonly sourceLength?: number | undefined;
}

/** How an image is to be opened. */
export interface OpenChoice {
  /** What the user declares its format to be. */
  readonly format?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly member?: string | undefined;
  /** It is read more than once, or in any order: what comes through a pipe is put aside whole. */
  readonly inAnyOrder?: boolean | undefined;
}

/** An image that was opened: the file's bytes, and the disk in it. */
export interface OpenImage {
  readonly source: ByteSource;
  readonly disk: Disk;
}

/** What the flags for the one image of a command, or the first, say. */
export function selectedBy(options: ImageFilesOptions & { readonly from?: string | undefined }): OpenChoice {
  return { format: options.from, snapshot: options.snapshot, member: options.member };
}

/** The images of one command, and every file that was opened for them. */
export class ImageFiles {
  readonly #signal: AbortSignal;
  readonly #options: ImageFilesOptions;
  /** Where what comes through a pipe is put aside. */
  readonly #spoolFolder: string;
  #isInputTaken = false;
  readonly #references: ReferenceGate;
  readonly #disks: Disk[] = [];
  /** Closed by us. */
  readonly #own: ByteSource[] = [];
  /** All, also those that a disk closes. */
  readonly #sources: { readonly file: string; readonly source: ByteSource }[] = [];

  constructor(options: ImageFilesOptions, signal: AbortSignal, spoolFolder: string = tmpdir()) {
    this.#signal = signal;
    this.#options = options;
    this.#spoolFolder = spoolFolder;
    const supplied = (options.reference ?? []).map((text) => this.#parseReference(text));
    this.#references = withFolder(new Map(supplied), options.referencesFrom, (file) =>
      this.#openSource(file),
    );
  }

  /** Opens an image as a disk. */
  async open(file: string, choice: OpenChoice = {}): Promise<OpenImage> {
    const { format, inAnyOrder, ...selected } = choice;
    if (format !== undefined) requireFormatName(format, '--from');
    const source = await this.#openOwn(file, inAnyOrder);
    if (format === undefined && isExport(source)) return { source, disk: this.#exported(source, choice) };
    const disk = await inFile(arrivingName(file), () =>
      openDisk(source, {
        format,
        ...selected,
        references: this.#references,
        signal: this.#signal,
        spool: (bytes) => this.#spool(bytes, file),
      }),
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
    const source = await this.#openOwn(file, true);
    return inFile(arrivingName(file), async () => {
      // What a guest wrote to a disk does not say what the disk is.
      const declared = format ?? (isExport(source) ? 'raw' : undefined);
      const known = declared === undefined ? await probeFormat(source, this.#signal) : formatNamed(declared);
      const { snapshot, member } = this.#options;
      return work(source, known, { references: this.#references, signal: this.#signal, snapshot, member });
    });
  }

  /** The local files among those that were opened. */
  get localFiles(): readonly string[] {
    return this.#sources
      .map(({ file }) => file)
      .filter((file) => file !== '-' && !isHttpAddress(file) && !isNbdAddress(file));
  }

  /** An export is the disk itself. */
  #exported({ disk }: NbdSource, { snapshot, member }: OpenChoice): Disk {
    if (snapshot === undefined && member === undefined) return disk;
    throw usageError('an NBD export is one disk', 'leave --snapshot and --member away, or say --from');
  }

  /**
   * Throws STORE_CHANGED when any of the files was written to since it was opened, and what an arriving or
   * compressed file ends with when that is wrong.
   */
  async requireUnchanged(): Promise<void> {
    for (const disk of this.#disks) await disk.drain?.(this.#signal);
    for (const source of this.#own) await source.drain?.(this.#signal);
    await this.requireFilesUnchanged();
  }

  /** Throws STORE_CHANGED when any of the files was written to since it was opened. */
  async requireFilesUnchanged(): Promise<void> {
    for (const { source } of this.#sources) await requireUnchanged(source);
  }

  async close(): Promise<void> {
    for (const disk of this.#disks) await disk.close();
    for (const source of this.#own) await source.close();
  }

  async #openOwn(file: string, inAnyOrder = false): Promise<ByteSource> {
    if (!(await isArriving(file))) {
      if (this.#options.sourceLength !== undefined) {
        throw usageError(
          '--source-length is for what comes through a pipe',
          `leave it away: ${file} has a length`,
        );
      }
      const source = await this.#openSource(file);
      this.#own.push(source);
      return source;
    }
    if (file === '-' && this.#isInputTaken) throw usageError('standard input is read once', 'name a file');
    this.#isInputTaken ||= file === '-';
    const source = await openArriving(file, this.#options.sourceLength, this.#signal);
    this.#own.push(source);
    if (!inAnyOrder) return source;
    const spooled = await this.#spool(byteChunks(source, 0, this.#signal), file);
    this.#own.push(spooled);
    return spooled;
  }

  #spool(bytes: AsyncIterable<Uint8Array>, file: string): Promise<ByteSource> {
    return spooledSource(bytes, this.#spoolFolder, arrivingName(file), this.#signal);
  }

  async #openSource(file: string): Promise<ByteSource> {
    if (file === '-') {
      throw usageError(
        'a file that a name inside an image means cannot come from standard input',
        'name a file',
      );
    }
    const source = await this.#sourceAt(file);
    this.#sources.push({ file, source });
    return source;
  }

  async #sourceAt(file: string): Promise<ByteSource> {
    if (isHttpAddress(file)) return httpSource(file, { signal: this.#signal });
    if (isNbdAddress(file)) return nbdSource(file, { signal: this.#signal });
    return openFile(file);
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

function isExport(source: ByteSource): source is NbdSource {
  return isNbdAddress(source.name);
}

export function isHttpAddress(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/** Throws USAGE for a name that is no format's. */
export function requireFormatName(name: string, flag: string): void {
  if (isFormatName(name)) return;
  const names = formats.map((format) => format.name).join(', ');
  throw usageError(`${flag}: there is no format named ${JSON.stringify(name)}`, `use one of ${names}`);
}

/** Also of one in a compressed file: `raw.gz`. */
function isFormatName(name: string): boolean {
  try {
    const known = formatNamed(name);
    return known.extensions.length === 0 || formats.includes(known);
  } catch (error) {
    if (isImageError(error)) return false;
    throw error;
  }
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
