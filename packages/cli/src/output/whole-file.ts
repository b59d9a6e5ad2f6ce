import { fileSink } from '@gantry/disk';

/** Writes a file, which has its name only when all of it is there. */
export async function writeWholeFile(path: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const sink = await fileSink(path);
  try {
    await sink.write(0, bytes);
    await sink.finish(bytes.length);
  } catch (error) {
    await sink.abort().catch(() => {});
    throw error;
  }
}
