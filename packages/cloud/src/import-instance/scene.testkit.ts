import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeArchive, type TestArchive } from '../archive.testkit.ts';
import { BUCKET, INSTANCE_ID, startCloud, type TestCloud } from '../oci-cloud.testkit.ts';
import { type ImportOutcome, type ImportTools, type ImportWish, importInstance } from './import.ts';
import type { ImportProgress } from './progress.ts';

const MIB = 2 ** 20;

/** A cloud with one instance, and what a user wants of it. */
export interface Scene extends TestArchive {
  readonly cloud: TestCloud;
  readonly wish: ImportWish;
  /** The machine's. */
  readonly folder: string;
  readonly notes: string[];
  tools(onProgress?: (progress: ImportProgress) => void, signal?: AbortSignal): ImportTools;
  run(): Promise<ImportOutcome>;
}

export async function scene(
  t: TestContext,
  wish: Partial<ImportWish> = {},
  dataBytes: number = 6 * MIB,
): Promise<Scene> {
  const cloud = await startCloud(t);
  const archive = await makeArchive(cloud.folder, 64 * MIB + dataBytes, dataBytes);
  await cloud.serve(archive.archive);
  const folder = join(cloud.folder, 'machine');
  const notes: string[] = [];
  const { configFile, endpoint } = cloud;
  const full: ImportWish = {
    profile: 'TEST',
    instanceId: INSTANCE_ID,
    bucket: BUCKET,
    keep: false,
    folder,
    configFile,
    endpoint,
    ...wish,
  };
  const tools: Scene['tools'] = (onProgress = () => {}, signal = new AbortController().signal) => ({
    environment: {},
    signal,
    parallel: 4,
    onProgress,
    note: (text) => notes.push(text),
  });
  return { ...archive, cloud, wish: full, folder, notes, tools, run: () => importInstance(full, tools()) };
}
