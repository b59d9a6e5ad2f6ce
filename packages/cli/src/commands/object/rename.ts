import type { ObjectEntry } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { apiPath, parsePlace } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(
  context: Context,
  [text, newKey]: readonly [string, string],
  { ifAbsent = false }: { readonly ifAbsent?: boolean },
): Promise<undefined> {
  const { bucket, key } = parsePlace(text);
  const client = await connect(context);
  const path = `${apiPath('buckets', bucket)}/renames`;
  const object = await client.startOnce<ObjectEntry>(path, { key, newKey, ifAbsent });
  const lines = [`renamed ${printable(text)} to ${printable(`${bucket}/${object.key}`)}`];
  await context.output.record({ bucket, key: object.key, etag: object.etag }, lines);
}
