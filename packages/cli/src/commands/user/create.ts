import type { User } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { savingToken, tokenLine } from '../../profile/new-profile.ts';

interface CreateOptions {
  readonly role: string;
  readonly description?: string;
  readonly email?: string;
  readonly save?: string;
}

export async function run(
  context: Context,
  [name]: readonly [string],
  { save, ...details }: CreateOptions,
): Promise<undefined> {
  const client = await connect(context);
  const json = { name, ...details };
  const { user, token } = await savingToken(save, client.profile.endpoint, () =>
    client.json<{ user: User; token: string }>('POST', '/users', { json }),
  );
  const secret = save === undefined ? { token } : { profile: save };
  await context.output.record({ user: { ...user }, ...secret }, [
    `made ${user.role} ${printable(user.name)}`,
    tokenLine(token, save),
  ]);
}
