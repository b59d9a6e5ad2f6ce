import type { Image } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { sizeText, timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  const images = await Array.fromAsync(client.items<Image>('/images'));
  await context.output.list(images, [
    { title: 'ID', value: ({ id }) => id },
    { title: 'NAME', value: ({ name }) => name },
    { title: 'SIZE', align: 'right', value: ({ virtualSizeBytes }) => sizeText(virtualSizeBytes) },
    { title: 'FROM', value: ({ sourceFormat }) => sourceFormat },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
