import { fileSource, probeFormat } from '@gantry/disk';
import type { Image } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { LocalFile } from '../../client/local-file.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import { printImage } from './print.ts';

/** Sends the file in one request; the image is there when it is answered. */
export async function streamIn(
  context: Context,
  path: string,
  options: {
    readonly name: string;
    readonly format?: string;
    readonly member?: string;
    readonly snapshot?: string;
  },
): Promise<undefined> {
  const { signal, progress } = context;
  const format = options.format ?? (await formatOf(path, signal));
  const client = await connect(context);
  const file = await LocalFile.open(path, signal);
  try {
    const totalBytes = file.lengthBytes;
    let doneBytes = 0;
    const body = file.range(0, totalBytes, (count) => {
      doneBytes += count;
      progress.step({ phase: 'upload', doneBytes, totalBytes });
    });
    const { name, member, snapshot } = options;
    const query = { name, format, member, snapshot };
    const { image } = await client
      .json<{ image: Image }>('POST', '/images/stream', { query, body })
      .catch((error) => {
        throw doneBytes < totalBytes ? error : answerLost(error);
      });
    await file.requireUnchanged();
    progress.end();
    await printImage(context, image);
  } finally {
    await file.close();
  }
}

/** All was sent, so the image may be there: only the service knows. */
function answerLost(error: unknown): unknown {
  if (!(error instanceof CommandError) || error.code !== 'SERVICE_UNREACHABLE') return error;
  const hint = 'the import may have gone on: see gantry job list before you send it again';
  return new CommandError(error.code, 'the answer of the service was lost', { hint, cause: error.cause });
}

/** The service cannot look at the end of a stream: the format is found here. */
async function formatOf(path: string, signal: AbortSignal): Promise<string> {
  const source = await fileSource(path);
  try {
    const { name } = await probeFormat(source, signal);
    return name;
  } finally {
    await source.close();
  }
}
