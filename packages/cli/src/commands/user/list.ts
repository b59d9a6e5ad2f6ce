import type { User } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';

export async function run(context: Context): Promise<undefined> {
  const client = await connect(context);
  const users = await Array.fromAsync(client.items<User>('/users'));
  await context.output.list(users, [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'ROLE', value: ({ role }) => role },
    { title: 'OCID', value: ({ ocid }) => ocid },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
