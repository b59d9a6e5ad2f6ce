import type { DiskCheckpoint, ReadBack } from '../disk-writer.ts';
import { Journal } from '../journal.ts';
import type { InstanceFacts } from '../oci/instance-facts.ts';
import type { ObjectVersion } from '../oci/object-source.ts';
import type { Leftover } from '../oci/removal.ts';

/** What was asked for: enough to connect again and to go on. */
export interface ImportRequest {
  readonly profile: string;
  /** The configuration file of the profile, absolute. */
  readonly configFile: string;
  readonly endpoint?: string;
  readonly region: string;
  readonly namespace: string;
  readonly bucket: string;
  /** Of the machine. */
  readonly name: string;
  /** Without folder and ending, as a file system takes it. */
  readonly baseName: string;
  /** What was made in the cloud is left there. */
  readonly keep: boolean;
}

/**
 * Something that OCI is asked for once. The token stands in the journal before the request is sent: sent again with
 * it, within the 24 hours that OCI remembers it, the request makes nothing new.
 */
interface AskedOnce {
  readonly retryToken: string;
  /** Absent before the answer is known; empty when OCI named none. */
  readonly workRequestId?: string;
}

export interface ImageStep extends AskedOnce {
  readonly id?: string;
  readonly isReady?: boolean;
  readonly isRemoved?: boolean;
}

export interface ObjectStep extends AskedOnce {
  /** Set when the export has ended well. */
  readonly version?: ObjectVersion;
  readonly isRemoved?: boolean;
}

/** The VMDK as it was read back, and where it is. */
export interface WrittenDisk extends ReadBack {
  readonly lengthBytes: number;
  /** How the digest was made sure of. */
  readonly proof: 'service' | 'read-back';
}

export interface ImportState {
  readonly request: ImportRequest;
  readonly instance: InstanceFacts;
  readonly startedAt: string;
  /** Of the custom image, and of the object without its ending: no other run has it. */
  readonly cloudName: string;
  readonly image: ImageStep;
  readonly object: ObjectStep;
  /** Images of attempts that OCI ended as failed. */
  readonly failedImageIds: readonly string[];
  readonly disk?: DiskCheckpoint | undefined;
  /** `image_metadata.json` of the archive, as a text. */
  readonly metadata?: string;
  readonly written?: WrittenDisk;
  /** Names of the files beside the disk. */
  readonly files?: readonly string[];
  readonly leftovers?: readonly Leftover[];
  readonly finishedAt?: string;
}

export type ImportJournal = Journal<ImportState>;

/** In the machine's folder. */
export const JOURNAL_NAME = 'gantry-import.json';
const KIND = 'gantry instance import, version 1';

export function createImportJournal(path: string, state: ImportState): Promise<ImportJournal> {
  return Journal.create(path, KIND, state);
}

/** Throws STORE_NOT_FOUND when it is not there, STORE_REFUSED when it is something else. */
export function openImportJournal(path: string): Promise<ImportJournal> {
  return Journal.open(path, KIND, isImportState);
}

function isImportState(state: object): state is ImportState {
  const { request, instance, cloudName, image, object, failedImageIds } = state as Partial<ImportState>;
  return (
    areTexts(request, ['profile', 'configFile', 'region', 'namespace', 'bucket', 'name', 'baseName']) &&
    // It names files of the folder, and nothing else.
    /^[\w@+][\w.@+-]*$/.test(request?.baseName ?? '') &&
    areTexts(instance, ['id', 'compartmentId', 'shape']) &&
    typeof cloudName === 'string' &&
    areTexts(image, ['retryToken']) &&
    areTexts(object, ['retryToken']) &&
    Array.isArray(failedImageIds)
  );
}

function areTexts(value: object | undefined, names: readonly string[]): boolean {
  const record = value as Readonly<Record<string, unknown>> | undefined;
  return typeof record === 'object' && names.every((name) => typeof record[name] === 'string');
}
