import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { StoreError, storeError } from '@gantry/disk';

/** A user of OCI and the key that signs for them: one section of a configuration file. */
export interface OciProfile {
  readonly name: string;
  /** The configuration file. */
  readonly file: string;
  readonly tenancyId: string;
  readonly userId: string;
  readonly fingerprint: string;
  /** PEM. */
  readonly privateKey: string;
  readonly passphrase: string | null;
  /** Set for a session that `oci session authenticate` made. */
  readonly sessionToken?: string;
  readonly region: string;
}

export interface OciProfilePlace {
  readonly profile: string;
  /** Default: OCI_CONFIG_FILE, else `~/.oci/config`. */
  readonly file?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads a profile of the configuration file that the OCI CLI and the SDKs share ("SDK and CLI Configuration File",
 * Oracle). Throws STORE_NOT_FOUND when the file, the profile or a file that it names is not there, STORE_REFUSED when
 * the profile says too little or wants another kind of authentication.
 */
export async function readOciProfile({ profile, file, environment }: OciProfilePlace): Promise<OciProfile> {
  const home = environment.HOME || homedir();
  const path = resolve(withHome(file ?? (environment.OCI_CONFIG_FILE || '~/.oci/config'), home));
  const values = await profileValues(path, profile);
  const refuse = (what: string) =>
    new StoreError('STORE_REFUSED', `the OCI profile ${profile} ${what}`, {
      where: path,
      hint: 'it names user, fingerprint, tenancy, region and key_file; gantry oci setup or oci setup config makes one',
    });
  const need = (key: string): string => {
    const value = values.get(key);
    if (value === undefined || value === '') throw refuse(`names no ${key}`);
    return value;
  };
  if (values.get('authentication_type') !== undefined)
    throw refuse(`asks for the authentication_type ${values.get('authentication_type')}; only keys are used`);
  const read = async (key: string): Promise<string> => {
    // As the OCI CLI does, a relative name is looked up from where the command runs; beside the file as a help.
    const named = withHome(need(key), home);
    return readFile(named, 'utf8').catch(async (error) => {
      const beside = await readFile(resolve(dirname(path), named), 'utf8').catch(() => undefined);
      if (beside !== undefined) return beside;
      throw storeError(error, named);
    });
  };
  const isSession = values.has('security_token_file');
  return {
    name: profile,
    file: path,
    tenancyId: need('tenancy'),
    userId: isSession ? '' : need('user'),
    fingerprint: need('fingerprint'),
    privateKey: await read('key_file'),
    passphrase: values.get('pass_phrase') || null,
    ...(isSession && { sessionToken: (await read('security_token_file')).trim() }),
    region: values.get('region') || environment.OCI_REGION || need('region'),
  };
}

function withHome(path: string, home: string): string {
  return path === '~' || path.startsWith('~/') ? join(home, path.slice(1)) : path;
}

/** What the section says, with DEFAULT for what it leaves out, as every client of OCI reads it. */
async function profileValues(path: string, profile: string): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(path, 'utf8').catch((error) => {
    throw storeError(error, path);
  });
  // The SDK's own reader of files prints to standard output; what it reads lines with does not.
  const { ConfigAccumulator } = await import('oci-common/lib/config-file-reader.js');
  const accumulator = new ConfigAccumulator();
  for (const line of text.split(/\r?\n/)) {
    try {
      accumulator.accept(line);
    } catch {
      // The SDK's message shows the line, which may hold a passphrase.
      throw new StoreError(
        'STORE_REFUSED',
        'a line of the OCI configuration file is neither [NAME] nor key=value',
        {
          where: path,
          hint: 'correct the file; gantry oci setup or oci setup config makes one',
        },
      );
    }
  }
  const profiles: ReadonlyMap<string, ReadonlyMap<string, string>> = accumulator.configurationsByProfile;
  const own = profiles.get(profile);
  if (own === undefined) {
    const names = [...profiles.keys()];
    throw new StoreError('STORE_NOT_FOUND', `there is no OCI profile ${JSON.stringify(profile)}`, {
      where: path,
      hint: names.length === 0 ? 'the file has no profiles' : `it has ${names.join(', ')}`,
    });
  }
  return new Map([...(profiles.get('DEFAULT') ?? []), ...own]);
}
