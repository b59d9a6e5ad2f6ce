import type { Instance } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { sizeText, timeText } from '../../output/quantities.ts';

interface ListOptions {
  readonly state?: string;
}

export async function run(context: Context, _: readonly [], { state }: ListOptions): Promise<undefined> {
  const client = await connect(context);
  const instances = await Array.fromAsync(client.items<Instance>('/instances', { state }));
  await context.output.list(instances, [
    { title: 'ID', value: ({ id }) => id },
    { title: 'NAME', value: ({ name }) => name },
    { title: 'STATE', value: ({ state: now }) => now },
    { title: 'CPUS', align: 'right', value: ({ cpuCount }) => String(cpuCount) },
    { title: 'MEMORY', align: 'right', value: ({ memoryBytes }) => sizeText(memoryBytes) },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
