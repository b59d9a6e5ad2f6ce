import { open, rm } from 'node:fs/promises';
import { storeError } from '@gantry/disk';

/**
 * Makes something that has a token, and writes that into a new client profile for its owner's eyes only; the file is
 * there before, so that no token is made that cannot be kept. Without a file it just makes it. Throws STORE_EXISTS when
 * there is a file of that name.
 */
export async function savingToken<Made extends { readonly token: string }>(
  file: string | undefined,
  endpoint: string,
  make: () => Promise<Made>,
): Promise<Made> {
  if (file === undefined) return make();
  const handle = await open(file, 'wx', 0o600).catch((error) => {
    throw storeError(error, file);
  });
  try {
    const made = await make();
    await handle.writeFile(`endpoint = "${endpoint}"\ntoken = "${made.token}"\n`);
    await handle.sync();
    return made;
  } catch (error) {
    await rm(file, { force: true });
    throw storeError(error, file);
  } finally {
    await handle.close();
  }
}

/** What is said of a token that was just made: where it stands, or the token itself. */
export function tokenLine(token: string, file: string | undefined): string {
  return file === undefined ? `token, shown this once: ${token}` : `profile with its token: ${file}`;
}
