import type { Par } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';

export async function run(context: Context, [place]: readonly [string]): Promise<undefined> {
  const [bucket = '', ...rest] = place.split('/');
  const prefix = rest.join('/') || undefined;
  const client = await connect(context);
  const path = `${apiPath('buckets', bucket)}/pre-authenticated-requests`;
  const pars = await Array.fromAsync(client.items<Par>(path, { prefix }));
  await context.output.list(pars, [
    { title: 'ID', value: ({ id }) => id },
    { title: 'NAME', value: ({ name }) => name },
    {
      title: 'ACCESS',
      value: ({ accessType, allowsListing }) => `${accessType}${allowsListing ? ' + list' : ''}`,
    },
    { title: 'KEY', value: ({ key }) => key ?? '-' },
    { title: 'EXPIRES', value: ({ expiresAtMs }) => timeText(expiresAtMs) },
  ]);
}
