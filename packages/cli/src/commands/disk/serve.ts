import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { basename, dirname, relative } from 'node:path';
import {
  createOverlay,
  type Disk,
  diskDigest,
  isNbdAddress,
  nbdAddressText,
  openOverlay,
  type SocketAddress,
  StoreError,
  serveNbd,
  type WritableDisk,
} from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';
import { ImageFiles, type ImageFilesOptions, isHttpAddress, selectedBy } from './image-files.ts';
import { lockFile } from './lock-file.ts';

interface ServeOptions extends ImageFilesOptions {
  readonly from?: string;
  readonly socket?: string;
  readonly listen?: string;
  readonly allowRemote?: boolean;
  readonly export: string;
  readonly overlay?: string;
}

/** As the protocol limits a name. */
const NAME_BYTES_MAX = 4096;
const DEFAULT_LISTEN = '127.0.0.1:10809';

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ServeOptions,
): Promise<ExitCode> {
  const address = listenAddress(options);
  if (Buffer.byteLength(options.export) > NAME_BYTES_MAX || options.export.includes('\0')) {
    throw usageError(`--export: a name has at most ${NAME_BYTES_MAX} bytes, none of them zero`);
  }
  const files = new ImageFiles(options, context.signal);
  try {
    const { disk } = await files.open(file, { ...selectedBy(options), inAnyOrder: true });
    for (const warning of disk.warnings) context.progress.note(`warning: ${warning}`);
    if (options.overlay === undefined) await serve(context, file, disk, undefined, address, options);
    else await serveWritable(context, files, file, disk, options.overlay, address, options);
    await files.requireFilesUnchanged();
  } finally {
    await files.close();
  }
  return EXIT.ok;
}

async function serveWritable(
  context: Context,
  files: ImageFiles,
  file: string,
  disk: Disk,
  overlayFile: string,
  address: SocketAddress,
  options: ServeOptions,
): Promise<void> {
  const { signal, progress } = context;
  const path = await targetPath(overlayFile, files.localFiles);
  using _lock = lockFile(path);
  // An overlay on another disk, or on one that was changed since, would show a mixture of two.
  const digest = await diskDigest(disk, { signal, onProgress: progress.step });
  await files.requireFilesUnchanged();
  progress.end();
  if ((await stat(path).catch(() => undefined)) === undefined) {
    await createOverlay(path, disk, { digest, backing: backingName(file, path, disk, options) });
  }
  const writable = await openOverlay(path, disk, digest);
  try {
    await serve(context, file, writable, writable, address, options);
  } finally {
    await writable.close();
  }
}

async function serve(
  context: Context,
  file: string,
  disk: Disk,
  writable: WritableDisk | undefined,
  address: SocketAddress,
  options: ServeOptions,
): Promise<void> {
  const { output, progress, signal } = context;
  const server = await serveNbd({
    address,
    exports: [{ name: options.export, description: basename(file), disk, writable }],
    onError: (error) => progress.note(`error: ${error instanceof Error ? error.message : String(error)}`),
  });
  try {
    const text = nbdAddressText({ socket: server.address, exportName: options.export });
    const { virtualSizeBytes } = disk;
    await output.record({ address: text, file, virtualSizeBytes, writable: writable !== undefined }, [text]);
    const how = writable === undefined ? 'read-only' : `changes are kept in ${options.overlay}`;
    progress.note(`serving ${printable(file)}, ${exactSizeText(virtualSizeBytes)}, ${how}; Ctrl-C stops it`);
    if (!signal.aborted) await once(signal, 'abort');
  } finally {
    await server.close();
  }
}

/** How the overlay names what it lies on: so that it can be opened only where the name alone leads there. */
function backingName(
  file: string,
  overlayPath: string,
  disk: Disk,
  { snapshot, member }: ServeOptions,
): { readonly name: string; readonly format: string | undefined } {
  if (file === '-' || isHttpAddress(file) || isNbdAddress(file)) {
    return { name: 'a disk that was no local file', format: undefined };
  }
  const name = relative(dirname(overlayPath), file);
  if (snapshot !== undefined) return { name: `${name}, snapshot ${snapshot}`, format: undefined };
  if (member !== undefined) return { name: `${name}, member ${member}`, format: undefined };
  return { name, format: disk.format };
}

function listenAddress({ socket, listen, allowRemote }: ServeOptions): SocketAddress {
  if (socket !== undefined) {
    if (listen === undefined && allowRemote !== true) return { kind: 'unix', path: socket };
    throw usageError('--socket goes without --listen and --allow-remote');
  }
  const text = listen ?? DEFAULT_LISTEN;
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) {
    throw usageError(`--listen ${JSON.stringify(text)} is not HOST:PORT`);
  }
  if (allowRemote !== true && !isLoopback(host)) {
    throw new StoreError('STORE_REFUSED', `${text} can be reached by other machines`, {
      where: text,
      hint: 'NBD asks for no password: lead the connection through ssh, or say --allow-remote',
    });
  }
  return { kind: 'tcp', host, port };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
