import type { Bucket } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  const buckets = await Array.fromAsync(client.items<Bucket>('/buckets'));
  await context.output.list(buckets, [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
