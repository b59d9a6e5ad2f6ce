import { readFile } from 'node:fs/promises';
import { fileSink, StoreError, storeError } from '@gantry/disk';

/** Whole and durable, or as before. */
export async function writeRecord(path: string, record: object): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`);
  const sink = await fileSink(path);
  try {
    await sink.write(0, bytes);
    await sink.finish(bytes.length);
  } finally {
    await sink.abort();
  }
}

/** Undefined when there is none. Throws STORE_CORRUPT for one that was not written here. */
export async function readRecord<Record extends { readonly version: 1 }>(
  path: string,
): Promise<Record | undefined> {
  const text = await readFile(path, 'utf8').catch((error) => {
    const failure = storeError(error, path);
    if (failure instanceof StoreError && failure.code === 'STORE_NOT_FOUND') return undefined;
    throw failure;
  });
  if (text === undefined) return undefined;
  const record = parsed(text);
  if (record?.version === 1) return record as Record;
  throw new StoreError('STORE_CORRUPT', `${path} is no record of a machine`, {
    where: path,
    hint: 'define the machine again',
  });
}

function parsed(text: string): { readonly version?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
