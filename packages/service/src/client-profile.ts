import { readFile } from 'node:fs/promises';
import { storeError } from '@gantry/disk';
import { writeDurably } from './data-folder.ts';

/**
 * Writes how the command reaches this service, for its owner's eyes only. `token` is given once, at the first
 * start; later starts keep the one that stands there and change the address alone.
 */
export async function writeClientProfile(
  path: string,
  address: string,
  token: string | undefined,
): Promise<void> {
  const before = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    // Written anew, it would lose the token.
    throw storeError(error, path);
  });
  const kept = token ?? /^token = "([^"]*)"$/m.exec(before)?.[1];
  const lines = [
    '# How the gantry command reaches this service. The token is a secret.',
    `endpoint = "${address}"`,
  ];
  if (kept !== undefined) lines.push(`token = "${kept}"`);
  const text = `${lines.join('\n')}\n`;
  if (text !== before) await writeDurably(path, text);
}
