import { connect } from '../../client/client.ts';
import { objectPath, parsePlace, placeText } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [text]: readonly [string]): Promise<undefined> {
  const place = parsePlace(text);
  const client = await connect(context);
  await client.json('DELETE', objectPath(place));
  await context.output.record({ deleted: placeText(place) }, [`deleted ${printable(placeText(place))}`]);
}
