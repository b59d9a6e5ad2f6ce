import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { StoreError, storeError } from '@gantry/disk';
import { freeBytesIn } from '../disk-writer.ts';
import { connectOci, type OciClients } from '../oci/clients.ts';
import { namespaceOf, requireBucket } from '../oci/images.ts';
import { type InstanceFacts, readInstance } from '../oci/instance-facts.ts';
import { readOciProfile } from '../oci/profile.ts';
import { type ImportListener, ImportMeter } from './progress.ts';
import { importSteps } from './run.ts';
import {
  createImportJournal,
  type ImportJournal,
  type ImportRequest,
  type ImportState,
  JOURNAL_NAME,
  openImportJournal,
} from './state.ts';

export interface ImportTools {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Ranges of the archive that are downloaded at once. */
  readonly parallel: number;
  readonly onProgress: ImportListener;
  /** A sentence for the user. */
  readonly note: (text: string) => void;
}

/** What a user asks for. */
export interface ImportWish {
  readonly profile: string;
  readonly instanceId: string;
  readonly bucket: string;
  /** Of the machine; default: the instance's. */
  readonly name?: string | undefined;
  /** The machine's folder; default: one of its name, here. */
  readonly folder?: string | undefined;
  /** Leave the custom image and the object in the cloud. */
  readonly keep: boolean;
  /** Where all of OCI's services answer, instead of those of the region. */
  readonly endpoint?: string | undefined;
  readonly configFile?: string | undefined;
}

/** What an import would do; made by reading only. */
export interface ImportPlan {
  readonly request: ImportRequest;
  readonly instance: InstanceFacts;
  readonly folder: string;
  /** Where the folder is or will be made. */
  readonly freeBytes: number;
  /** The VMDK has at most about this many; its data decides. */
  readonly mostBytes: number;
}

export interface ImportOutcome {
  readonly folder: string;
  readonly journalPath: string;
  readonly state: ImportState;
  /** True when all was done before. */
  readonly wasFinished: boolean;
}

/** Reads what is there and says what would be done. */
export async function planInstanceImport(wish: ImportWish, tools: ImportTools): Promise<ImportPlan> {
  const { clients, configFile } = await connected(wish, tools);
  try {
    return await plan(clients, wish, configFile);
  } finally {
    clients.close();
  }
}

/**
 * Brings an instance of OCI here as a machine of VirtualBox: a custom image of it, an export into the user's bucket,
 * a VMDK that is written while the export arrives, and a machine around it. When the folder holds the journal of the
 * same import, that goes on. Throws STORE_EXISTS when it holds anything else.
 */
export async function importInstance(wish: ImportWish, tools: ImportTools): Promise<ImportOutcome> {
  const { clients, configFile } = await connected(wish, tools);
  try {
    const known = wish.folder === undefined ? undefined : await startedIn(wish.folder, wish);
    if (known !== undefined) return await goOn(clients, known, tools);
    const planned = await plan(clients, wish, configFile);
    const { folder } = planned;
    const started = await startedIn(folder, wish);
    return await goOn(clients, started ?? (await begin(planned, tools)), tools);
  } finally {
    clients.close();
  }
}

/** Goes on with an import from its journal, wherever it stopped. */
export async function resumeInstanceImport(path: string, tools: ImportTools): Promise<ImportOutcome> {
  const journal = await openImportJournal(resolve(path));
  const { clients } = await connected(journal.state.request, tools);
  try {
    return await goOn(clients, journal, tools);
  } finally {
    clients.close();
  }
}

async function connected(
  wish: Pick<ImportWish, 'profile' | 'configFile' | 'endpoint'> & { readonly region?: string },
  { environment, signal }: ImportTools,
): Promise<{ readonly clients: OciClients; readonly configFile: string }> {
  const profile = await readOciProfile({ profile: wish.profile, file: wish.configFile, environment });
  const clients = await connectOci({ profile, endpoint: wish.endpoint, region: wish.region, signal });
  return { clients, configFile: profile.file };
}

async function goOn(clients: OciClients, journal: ImportJournal, tools: ImportTools): Promise<ImportOutcome> {
  const folder = dirname(journal.path);
  const wasFinished = journal.state.finishedAt !== undefined;
  if (!wasFinished) {
    if (journal.state.image.id !== undefined)
      tools.note(`going on with the import of ${journal.state.startedAt}, as it was asked for then`);
    const meter = new ImportMeter(tools.onProgress);
    const run = { clients, journal, folder, parallel: tools.parallel, meter, note: tools.note };
    for (const step of importSteps) {
      tools.signal.throwIfAborted();
      await step(run);
    }
  }
  return { folder, journalPath: journal.path, state: journal.state, wasFinished };
}

async function plan(clients: OciClients, wish: ImportWish, configFile: string): Promise<ImportPlan> {
  const instance = await readInstance(clients, wish.instanceId);
  const namespace = await namespaceOf(clients);
  await requireBucket(clients, namespace, wish.bucket);
  const name = wish.name ?? instance.name;
  const baseName = fileNameOf(name);
  const folder = resolve(wish.folder ?? baseName);
  const { bootVolumeBytes } = instance;
  return {
    request: {
      profile: wish.profile,
      configFile,
      ...(wish.endpoint !== undefined && { endpoint: wish.endpoint }),
      region: clients.region,
      namespace,
      bucket: wish.bucket,
      name,
      baseName,
      keep: wish.keep,
    },
    instance,
    folder,
    freeBytes: await freeBytesIn(await existingFolder(folder)),
    // A table entry of 4 bytes, twice, for each grain of 64 KiB, and the front.
    mostBytes: bootVolumeBytes + Math.ceil(bootVolumeBytes / 8192) + 2 ** 20,
  };
}

/** What a file system takes, and a shell, and an object's name. */
function fileNameOf(name: string): string {
  const plain = name
    .replace(/[^\w.@+-]+/g, '-')
    .replace(/^[.-]+/, '')
    .slice(0, 80);
  return plain === '' ? 'instance' : plain;
}

async function existingFolder(folder: string): Promise<string> {
  for (let path = folder; ; path = dirname(path)) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() || path === dirname(path)) return path;
  }
}

/** The journal in the folder, when it is that of the same import. */
async function startedIn(folder: string, wish: ImportWish): Promise<ImportJournal | undefined> {
  const found = await readdir(folder).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return [];
    throw storeError(error, folder);
  });
  // What a kill left of a journal that never was.
  const names = found.filter((name) => name !== `${JOURNAL_NAME}.new`);
  if (names.length === 0) return undefined;
  const path = join(resolve(folder), JOURNAL_NAME);
  const refuse = (what: string) =>
    new StoreError('STORE_EXISTS', `${folder} ${what}`, {
      where: folder,
      hint: 'name a folder that is not there yet with --to',
    });
  if (!names.includes(JOURNAL_NAME)) throw refuse('is not empty');
  const journal = await openImportJournal(path);
  if (journal.state.instance.id === wish.instanceId) return journal;
  throw refuse(`holds the import of another instance, ${journal.state.instance.id}`);
}

async function begin(planned: ImportPlan, { note }: ImportTools): Promise<ImportJournal> {
  const { folder, request, instance, freeBytes, mostBytes } = planned;
  if (freeBytes < mostBytes)
    note(`warning: the disk can become ${mostBytes} bytes long, and ${freeBytes} are free in ${folder}`);
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw storeError(error, folder);
  });
  note(`what is done is written down in ${join(folder, JOURNAL_NAME)}`);
  return createImportJournal(join(folder, JOURNAL_NAME), {
    request,
    instance,
    startedAt: new Date().toISOString(),
    cloudName: `${request.baseName}-${randomBytes(4).toString('hex')}`,
    image: { retryToken: randomUUID() },
    object: { retryToken: randomUUID() },
    failedImageIds: [],
  });
}
