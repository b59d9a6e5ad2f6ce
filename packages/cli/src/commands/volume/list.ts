import type { Volume } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { sizeText, timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  const volumes = await Array.fromAsync(client.items<Volume>('/volumes'));
  await context.output.list(volumes, [
    { title: 'ID', value: ({ id }) => id },
    { title: 'NAME', value: ({ name }) => name },
    { title: 'KIND', value: ({ kind }) => kind },
    { title: 'STATE', value: ({ state }) => state },
    { title: 'SIZE', align: 'right', value: ({ sizeBytes }) => sizeText(sizeBytes) },
    { title: 'INSTANCE', value: ({ instanceId }) => instanceId ?? '' },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
