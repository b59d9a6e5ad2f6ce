import type { MadePar } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { timeText } from '../../output/quantities.ts';

interface CreateOptions {
  readonly access: 'read' | 'write' | 'read-write';
  readonly expires: string;
  readonly prefix?: boolean;
  readonly list?: boolean;
  readonly name?: string;
}

const accessTypes = { read: 'Read', write: 'Write', 'read-write': 'ReadWrite' } as const;
const MINUTE_MS = 60_000;
const unitMs: Readonly<Record<string, number>> = { m: MINUTE_MS, h: 60 * MINUTE_MS, d: 1440 * MINUTE_MS };

export async function run(
  context: Context,
  [place]: readonly [string],
  options: CreateOptions,
): Promise<undefined> {
  const { access, prefix = false, list = false, name = place } = options;
  const [bucket = '', ...rest] = place.split('/');
  const key = rest.join('/');
  if (bucket === '' || (key === '' && !prefix)) {
    throw usageError(`${JSON.stringify(place)} is not BUCKET/KEY`, 'with --prefix it may be BUCKET alone');
  }
  if (list && !(prefix && access !== 'write'))
    throw usageError('--list goes with --prefix, and with reading');
  const expiresAtMs = expiryMs(options.expires, Date.now());
  const client = await connect(context);
  const made = await client.json<MadePar>(
    'POST',
    `${apiPath('buckets', bucket)}/pre-authenticated-requests`,
    {
      json: {
        name,
        accessType: `${prefix ? 'Any' : ''}Object${accessTypes[access]}`,
        key,
        allowsListing: list,
        expiresAtMs,
      },
    },
  );
  context.progress.note(`good until ${timeText(made.expiresAtMs)}; it is not shown again`);
  await context.output.record({ ...made }, [made.url]);
}

/** Throws USAGE for what is no time in the future. */
function expiryMs(text: string, nowMs: number): number {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) return nowMs + Number(count) * (unitMs[unit] ?? 0);
  const atMs = Date.parse(text);
  if (/^\d{4}-/.test(text) && atMs > nowMs) return atMs;
  throw usageError(
    `${JSON.stringify(text)} is no time to come`,
    'write 30m, 12h, 7d or 2027-01-31T12:00:00Z',
  );
}
