import { connect } from '../../client/client.ts';
import { listCompartments } from '../../client/compartments.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  await context.output.list(await listCompartments(client), [
    { title: 'PATH', value: ({ path }) => path },
    { title: 'OCID', value: ({ ocid }) => ocid },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
