import type { ObjectEntry } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { sizeText, timeText } from '../../output/quantities.ts';

export async function run(context: Context, [place]: readonly [string]): Promise<undefined> {
  const [bucket = '', ...rest] = place.split('/');
  const prefix = rest.join('/') || undefined;
  const client = await connect(context);
  const path = apiPath('buckets', bucket, 'objects');
  const objects = await Array.fromAsync(client.items<ObjectEntry>(path, { prefix }));
  await context.output.list(objects, [
    { title: 'KEY', value: ({ key }) => key },
    { title: 'SIZE', align: 'right', value: ({ lengthBytes }) => sizeText(lengthBytes) },
    { title: 'STORED AS', value: ({ view }) => (view === null ? 'bytes' : 'view of an image') },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
