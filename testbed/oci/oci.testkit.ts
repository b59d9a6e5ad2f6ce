import { generateKeyPair } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { type RunningService, type ServeOptions, serve } from '@gantry/service';
import { Region, SimpleAuthenticationDetailsProvider } from 'oci-common';
import { IdentityClient } from 'oci-identity';

/** A user of the service with an API key: what the clients of OCI sign as. */
export interface OciUser {
  readonly userId: string;
  readonly tenancyId: string;
  readonly fingerprint: string;
  readonly privateKey: string;
  readonly provider: SimpleAuthenticationDetailsProvider;
  /** Our own id of the user and a token for the native API. */
  readonly id: string;
  readonly token: string;
}

export interface ServiceWithOci {
  readonly running: RunningService;
  readonly dataFolder: string;
  readonly admin: OciUser;
  /** Stops the service and starts it again, on the same folder and port. */
  restart(): Promise<void>;
  /** Makes a client of the official SDK talk to the service as this user. Closed after the test. */
  client<Client extends { endpoint: string; close(): void }>(
    make: new (parameters: { authenticationDetailsProvider: SimpleAuthenticationDetailsProvider }) => Client,
    user?: OciUser,
  ): Client;
  identity(user?: OciUser): IdentityClient;
  /** A user with a key, without any grant. */
  member(name: string): Promise<OciUser>;
  /** The JSON of an answer of the native API. */
  native(
    path: string,
    init?: { readonly method?: string; readonly json?: unknown; readonly token?: string },
  ): Promise<Json>;
}

// biome-ignore lint/suspicious/noExplicitAny: what the test expects to be there is asserted by it
type Json = any;

/** Starts a whole service in this process, with an administrator who has an API key. */
export async function startServiceWithOci(
  t: TestContext,
  options: Partial<ServeOptions> = {},
): Promise<ServiceWithOci> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'gantry-oci-'));
  const hypervisor = 'none';
  const settings = { dataFolder, listen: '127.0.0.1:0', logLevel: 'fatal', hypervisor, ...options } as const;
  let running = await serve(settings);
  const clients: { close(): void }[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await running.stop();
    await rm(dataFolder, { recursive: true });
  });
  const profile = await readFile(running.profilePath, 'utf8');
  const adminToken = /^token = "([^"]*)"$/m.exec(profile)?.[1] ?? '';
  const native: ServiceWithOci['native'] = async (path, { method, json, token = adminToken } = {}) => {
    const headers = new Headers({ authorization: `Bearer ${token}` });
    if (json !== undefined) headers.set('content-type', 'application/json');
    const answer = await fetch(`${running.address}/api/v1${path}`, {
      method: method ?? (json === undefined ? 'GET' : 'POST'),
      headers,
      body: json === undefined ? null : JSON.stringify(json),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  };
  const withKey = async (id: string, token: string): Promise<OciUser> => {
    const pair = await promisify(generateKeyPair)('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const { user, tenancy } = await native('/whoami', { token });
    const { fingerprint } = await native(`/users/${id}/api-keys`, {
      token,
      json: { publicKeyPem: pair.publicKey },
    });
    const { privateKey } = pair;
    return {
      id,
      token,
      userId: user.ocid,
      tenancyId: tenancy.ocid,
      fingerprint,
      privateKey,
      provider: new SimpleAuthenticationDetailsProvider(
        tenancy.ocid,
        user.ocid,
        fingerprint,
        privateKey,
        null,
        Region.US_PHOENIX_1,
      ),
    };
  };
  const admin = await withKey((await native('/whoami')).user.id, adminToken);
  const client: ServiceWithOci['client'] = (make, user = admin) => {
    const made = new make({ authenticationDetailsProvider: user.provider });
    made.endpoint = running.ociEndpoint;
    clients.push(made);
    return made;
  };
  return {
    get running() {
      return running;
    },
    dataFolder,
    admin,
    async restart() {
      const { host } = new URL(running.address);
      await running.stop();
      running = await serve({ ...settings, listen: host });
    },
    client,
    native,
    identity: (user) => client(IdentityClient, user),
    member: async (name) => {
      const { user, token } = await native('/users', { json: { name } });
      return withKey(user.id, token);
    },
  };
}
