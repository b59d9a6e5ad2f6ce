import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { requireNoTerminal } from '../../output/byte-stream.ts';
import { printable } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { targetPath } from '../../output/target-file.ts';
import { writeWholeFile } from '../../output/whole-file.ts';
import { writeAll } from '../../output/write.ts';

export async function run(
  context: Context,
  [idOrName, target]: readonly [string, string],
): Promise<undefined> {
  if (target === '-') requireNoTerminal(process.stdout);
  const path = target === '-' ? undefined : await targetPath(target, []);
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const bytes = await client.send('GET', `${instancePath(id)}/screenshot`, {}, (answer) => answer.bytes());
  if (path === undefined) {
    await writeAll(process.stdout, bytes);
    return;
  }
  await writeWholeFile(path, bytes);
  const record = { instance: id, target, lengthBytes: bytes.length };
  await context.output.record(record, [`wrote ${printable(target)}: ${exactSizeText(bytes.length)}`]);
}
