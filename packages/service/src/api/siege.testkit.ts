import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { authorizationOf, bodyHeaders, makeKeyPair, type TestKey } from '../auth/oci/oci-client.testkit.ts';
import { type RunningService, serve } from '../main.ts';

/** Stands in everything that is the victim's: an answer that holds it has told a stranger something. */
export const MARK = 'zebra';
export const SECRET = `the ${MARK} of the only copy`;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

interface User {
  readonly token: string;
  readonly key: TestKey;
}

// biome-ignore lint/suspicious/noExplicitAny: what the test expects to be there is asserted by it
type Json = any;

/** A service with a tenancy that has one of everything, and people who want it. */
export class Siege {
  readonly dataFolder: string;
  #running: RunningService | undefined;
  victim!: User;
  /** By the name of a path's parameter; the root of their places differs from route to route. */
  readonly names: Record<string, string> = {};

  constructor(dataFolder: string) {
    this.dataFolder = dataFolder;
  }

  async start(): Promise<void> {
    this.#running = await serve({
      dataFolder: this.dataFolder,
      listen: '127.0.0.1:0',
      logLevel: 'fatal',
      hypervisor: 'none',
    });
    const profile = await readFile(this.#running.profilePath, 'utf8');
    this.victim = await this.withKey(/^token = "([^"]*)"$/m.exec(profile)?.[1] ?? '');
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
  }

  get address(): string {
    assert.ok(this.#running !== undefined, 'the service runs');
    return this.#running.address;
  }

  /** Sends a request as it is. */
  send(method: string, target: string, headers: http.OutgoingHttpHeaders, body?: string): Promise<Answer> {
    const { hostname, port } = new URL(this.address);
    return new Promise((resolve, reject) => {
      const request = http.request(
        { method, hostname, port, path: target, headers, agent: false },
        (answer) => {
          let text = '';
          answer.setEncoding('utf8');
          answer.on('data', (part: string) => {
            text += part;
          });
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
          answer.on('error', reject);
        },
      );
      request.on('error', reject);
      request.end(body);
    });
  }

  native(user: { readonly token: string }, method: string, path: string, body?: string): Promise<Answer> {
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    return this.send(method, `/api/v1${path}`, { authorization: `Bearer ${user.token}`, ...type }, body);
  }

  /** The JSON of a native answer that must be good. */
  async json(user: { readonly token: string }, method: string, path: string, body?: object): Promise<Json> {
    const answer = await this.native(user, method, path, body && JSON.stringify(body));
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.text === '' ? undefined : JSON.parse(answer.text);
  }

  /** The headers of a request that this key signs as OCI's clients do. */
  signed(key: TestKey, method: string, target: string, body: string | undefined, atMs = Date.now()) {
    const withBody = body?.startsWith('{') === true;
    const headers: Record<string, string> = {
      host: new URL(this.address).host,
      'x-date': new Date(atMs).toUTCString(),
      ...(withBody ? bodyHeaders(body) : body === undefined ? {} : { 'content-length': String(body.length) }),
    };
    const covered = withBody ? ['content-type', 'content-length', 'x-content-sha256'] : [];
    const names = ['x-date', '(request-target)', 'host', ...covered];
    return { ...headers, authorization: authorizationOf(key, { method, target, headers }, names) };
  }

  oci(user: User, method: string, path: string, body?: string): Promise<Answer> {
    const target = `/oci${path}`;
    return this.send(method, target, this.signed(user.key, method, target, body), body);
  }

  async ociJson(method: string, path: string, body?: object): Promise<Json> {
    const answer = await this.oci(this.victim, method, path, body && JSON.stringify(body));
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.text === '' ? undefined : JSON.parse(answer.text);
  }

  /** Gives the owner of a token an API key. */
  async withKey(token: string): Promise<User> {
    const pair = makeKeyPair();
    const { user, tenancy } = await this.json({ token }, 'GET', '/whoami');
    const sent = { publicKeyPem: pair.publicKey };
    const { fingerprint } = await this.json({ token }, 'POST', `/users/${user.id}/api-keys`, sent);
    return {
      token,
      key: { keyId: `${tenancy.ocid}/${user.ocid}/${fingerprint}`, privateKey: pair.privateKey },
    };
  }

  /** The whole catalogue, but for the answers that are kept for requests sent again. */
  catalogue(): Record<string, unknown[]> {
    const database = new DatabaseSync(join(this.dataFolder, 'catalogue.sqlite'), { readOnly: true });
    try {
      const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
      const names = tables.map(({ name }) => String(name)).filter((name) => name !== 'idempotency_keys');
      return Object.fromEntries(names.map((name) => [name, database.prepare(`SELECT * FROM ${name}`).all()]));
    } finally {
      database.close();
    }
  }
}

export async function besiege(t: TestContext): Promise<Siege> {
  const siege = new Siege(await mkdtemp(join(tmpdir(), 'gantry-siege-')));
  t.after(async () => {
    await siege.stop();
    await rm(siege.dataFolder, { recursive: true });
  });
  await siege.start();
  return siege;
}

/** One of everything that a tenancy can have; where it stands is noted in `names`. */
export async function furnish(siege: Siege): Promise<void> {
  const [tenancyId = '', userId = '', fingerprint = ''] = siege.victim.key.keyId.split('/');
  const namespaceName = await siege.ociJson('GET', '/n');
  const bucketName = `${MARK}-bucket`;
  const objectName = `${MARK}/plan.txt`;
  const home = { compartmentId: tenancyId };
  const make = (path: string, body: object) => siege.ociJson('POST', path, body);
  const compartment = await make('/20160918/compartments', {
    ...home,
    name: `${MARK}-inner`,
    description: MARK,
  });
  const bucketPath = `/n/${namespaceName}/b/${bucketName}`;
  await make(`/n/${namespaceName}/b`, { ...home, name: bucketName });
  await siege.oci(siege.victim, 'PUT', `${bucketPath}/o/${encodeURIComponent(objectName)}`, SECRET);
  await siege.oci(siege.victim, 'PUT', `${bucketPath}/o/disk.raw`, MARK.padEnd(1024 * 1024));
  const par = await make(`${bucketPath}/p`, {
    name: `${MARK}-par`,
    accessType: 'ObjectRead',
    objectName,
    timeExpires: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const upload = await make(`${bucketPath}/u`, { object: objectName });
  const { id: namespaceId } = await make('/20160918/tagNamespaces', {
    ...home,
    name: `${MARK}s`,
    description: MARK,
  });
  await make(`/20160918/tagNamespaces/${namespaceId}/tags`, { name: `${MARK}-tag`, description: MARK });
  const source = {
    sourceType: 'objectStorageTuple',
    namespaceName,
    bucketName,
    objectName: 'disk.raw',
    sourceImageType: 'RAW',
  };
  const image = await make('/20160918/images', {
    ...home,
    displayName: `${MARK}-image`,
    imageSourceDetails: source,
  });
  let state = '';
  while (state !== 'AVAILABLE') {
    const now = await siege.ociJson('GET', `/20160918/images/${image.id}`);
    assert.notEqual(now.lifecycleState, 'DELETED', 'the import succeeds');
    state = now.lifecycleState;
  }
  await siege.ociJson('PUT', `/20160918/images/${image.id}/shapes/VM.Standard.E4.Flex`, {});
  const [domain] = await siege.ociJson('GET', `/20160918/availabilityDomains?compartmentId=${tenancyId}`);
  const instance = await make('/20160918/instances', {
    ...home,
    availabilityDomain: domain.name,
    displayName: `${MARK}-instance`,
    shape: 'VM.Standard.E4.Flex',
    shapeConfig: { ocpus: 1, memoryInGBs: 1 },
    sourceDetails: { sourceType: 'image', imageId: image.id },
  });
  const [attachment] = await siege.ociJson(
    'GET',
    `/20160918/bootVolumeAttachments?compartmentId=${tenancyId}&availabilityDomain=${domain.name}`,
  );
  const blockVolume = await make('/20160918/volumes', {
    ...home,
    availabilityDomain: domain.name,
    displayName: `${MARK}-volume`,
    sizeInGBs: 50,
  });
  const blockAttachment = await make('/20160918/volumeAttachments', {
    type: 'paravirtualized',
    instanceId: instance.id,
    volumeId: blockVolume.id,
  });
  const [work] = await siege.ociJson('GET', `/20160918/workRequests?compartmentId=${tenancyId}`);
  const [global] = await siege.ociJson(
    'GET',
    `/20160918/computeGlobalImageCapabilitySchemas?compartmentId=${tenancyId}`,
  );
  const schema = await make('/20160918/computeImageCapabilitySchemas', {
    ...home,
    imageId: image.id,
    displayName: `${MARK}-schema`,
    computeGlobalImageCapabilitySchemaVersionName: global.currentVersionName,
    schemaData: {},
  });
  Object.assign(siege.names, {
    image: image.id,
    instance: instance.id,
    attachment: attachment.id,
    volume: attachment.bootVolumeId,
    blockVolume: blockVolume.id,
    blockAttachment: blockAttachment.id,
    compartment: compartment.id,
    tenancy: tenancyId,
    user: userId,
    fingerprint,
    tagNamespace: namespaceId,
    tag: `${MARK}-tag`,
    namespace: namespaceName,
    bucket: bucketName,
    object: objectName,
    parId: par.id,
    accessUri: par.accessUri,
    uploadId: upload.uploadId,
    workRequest: work.id,
    schema: schema.id,
    globalSchema: global.id,
    schemaVersion: global.currentVersionName,
    domain: domain.name,
  });
}
