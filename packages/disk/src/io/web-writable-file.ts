import { fileSource } from './web-file.ts';
import type { WritableFile } from './writable-file.ts';

// What node-writable-file.ts gives, in a browser: a refusal.

export async function writableFile(path: string): Promise<WritableFile> {
  await fileSource(path);
  throw new Error('not reached');
}
