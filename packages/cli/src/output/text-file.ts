import { fileSink } from '@gantry/disk';

/** Writes a text to a file, which has its name only when all of it is there. */
export async function writeTextFile(path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  const sink = await fileSink(path);
  try {
    await sink.write(0, bytes);
    await sink.finish(bytes.length);
  } catch (error) {
    await sink.abort().catch(() => {});
    throw error;
  }
}
