import type { Tenancy, User } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { savingToken, tokenLine } from '../../profile/new-profile.ts';

interface Made {
  readonly tenancy: Tenancy;
  readonly administrator: User;
  readonly token: string;
}

export async function run(
  context: Context,
  [name]: readonly [string],
  { admin, save }: { readonly admin: string; readonly save?: string },
): Promise<undefined> {
  const client = await connect(context);
  const json = { name, administratorName: admin };
  const { tenancy, administrator, token } = await savingToken(save, client.profile.endpoint, () =>
    client.json<Made>('POST', '/tenancies', { json }),
  );
  const secret = save === undefined ? { token } : { profile: save };
  await context.output.record({ tenancy: { ...tenancy }, administrator: { ...administrator }, ...secret }, [
    `made tenancy ${printable(tenancy.name)} with the administrator ${printable(administrator.name)}`,
    tokenLine(token, save),
  ]);
}
