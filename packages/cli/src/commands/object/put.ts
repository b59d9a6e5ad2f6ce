import { connect } from '../../client/client.ts';
import { LocalFile } from '../../client/local-file.ts';
import { parsePlace, placeText } from '../../client/paths.ts';
import { uploadFile } from '../../client/upload.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';

export async function run(context: Context, [path, text]: readonly [string, string]): Promise<undefined> {
  const place = parsePlace(text);
  const client = await connect(context);
  const file = await LocalFile.open(path, context.signal);
  try {
    const { key, lengthBytes, etag } = await uploadFile(context, client, file, place, {
      isNamedByIdentity: false,
    });
    const record = { bucket: place.bucket, key, lengthBytes, etag };
    await context.output.record(record, [
      `put ${printable(placeText(place))}: ${exactSizeText(lengthBytes)}`,
    ]);
  } finally {
    await file.close();
  }
}
