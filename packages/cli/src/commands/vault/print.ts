import type { Job } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import type { Plain } from '../../output/yaml.ts';

/** The result of a job about the vault: its members are for people as they are. */
export async function printResult({ output }: Context, { id, result }: Job): Promise<void> {
  await output.record({ job: id, ...(result as { readonly [key: string]: Plain } | null) });
}
