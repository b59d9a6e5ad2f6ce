import type { Tenancy } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  const tenancies = await Array.fromAsync(client.items<Tenancy>('/tenancies'));
  await context.output.list(tenancies, [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'NAMESPACE', value: ({ namespace }) => namespace },
    { title: 'OCID', value: ({ ocid }) => ocid },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
