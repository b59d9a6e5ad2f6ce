import { fileSink } from '@gantry/disk';
import { connect } from '../../client/client.ts';
import { copySource, serviceLength, serviceSource } from '../../client/download.ts';
import { objectPath, parsePlace } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { requireNoTerminal, streamSource } from '../../output/byte-stream.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';

export async function run(context: Context, [text, target]: readonly [string, string]): Promise<undefined> {
  const place = parsePlace(text);
  if (target === '-') requireNoTerminal(process.stdout);
  const { signal, progress } = context;
  const client = await connect(context);
  const lengthBytes = await serviceLength(client, objectPath(place));
  const path = target === '-' ? undefined : await targetPath(target, []);
  if (lengthBytes === 0) {
    if (path !== undefined) await (await fileSink(path)).finish(0);
  } else {
    const source = await serviceSource(client, objectPath(place), {}, signal);
    try {
      if (path === undefined)
        await streamSource(source, process.stdout, { signal, onProgress: progress.step });
      else await copySource(context, source, await fileSink(path));
    } finally {
      await source.close();
    }
  }
  if (path === undefined) return;
  const lines = [`wrote ${printable(target)}: ${exactSizeText(lengthBytes)}`];
  await context.output.record({ ...place, target, lengthBytes }, lines);
}
