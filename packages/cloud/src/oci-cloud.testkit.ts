import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export const INSTANCE_ID = 'ocid1.instance.oc1.test.aaaa';
const VOLUME_ID = 'ocid1.bootvolume.oc1.test.aaaa';
const PLATFORM_IMAGE_ID = 'ocid1.image.oc1.test.platform';
const COMPARTMENT_ID = 'ocid1.compartment.oc1..aaaa';
const NAMESPACE = 'ns';
export const BUCKET = 'exports';

interface CloudImage {
  readonly id: string;
  readonly displayName: string;
  lifecycleState: string;
}

interface WorkRequest {
  readonly id: string;
  status: string;
  percentComplete: number;
  errors: { code: string; message: string; timestamp: string }[];
}

/** What a test makes the cloud do wrong. */
export interface Faults {
  /** Ends the work request of the next image like that. */
  failNextImage?: boolean;
  /** The next export ends well, and puts nothing into the bucket, as OCI does at times. */
  loseNextExport?: boolean;
  /** The next request of this kind is done, and its answer is lost. */
  loseAnswerTo?: 'createImage' | 'export' | undefined;
  /** A status for the next requests that match: `DELETE /20160918/images`. */
  refuse?: { readonly start: string; readonly status: number; readonly code: string; times: number };
  /** Long ranges that begin behind this are not answered until it is taken away. */
  holdBehindBytes?: number;
  /** What the service says of the image in an object. */
  diskDigest?: string;
}

/** A cloud that answers what an import asks for, with one instance whose boot volume is in an archive. */
export interface TestCloud {
  readonly endpoint: string;
  readonly configFile: string;
  readonly folder: string;
  readonly images: CloudImage[];
  /** ETags by name. */
  readonly objects: Map<string, string>;
  /** Other clouds that objects are copied to. */
  readonly regions: Map<string, TestCloud>;
  /** What pre-authenticated requests were asked for. */
  readonly pars: object[];
  readonly faults: Faults;
  /** `METHOD path` of every request, in order. */
  readonly requests: string[];
  /** Bytes of objects that were sent. */
  sentBytes: number;
  /** How many images and exports were begun. */
  madeCount(): number;
  /** Sets the archive that every export gives. */
  serve(archive: string): Promise<void>;
  /** Answers those that wait; some are waited for by nobody. */
  release(): void;
}

/** Starts it for a test, with a folder that is gone after it. */
export async function startCloud(context: TestContext): Promise<TestCloud> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cloud-'));
  const cloud = new Cloud();
  const server = createServer((request, response) => {
    cloud.answer(request, response).catch((error) => {
      if (error instanceof Refusal) {
        const { status, code, message } = error;
        response.writeHead(status, { 'content-type': 'application/json', 'opc-request-id': randomUUID() });
        response.end(request.method === 'HEAD' ? undefined : JSON.stringify({ code, message }));
      } else response.destroy(error);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(async () => {
    server.closeAllConnections();
    server.close();
    await cloud.close();
    await rm(folder, { recursive: true, force: true });
  });
  const { port } = server.address() as AddressInfo;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keyFile = join(folder, 'key.pem');
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const configFile = join(folder, 'config');
  const lines = [
    '[TEST]',
    'user=ocid1.user.oc1..aaaa',
    'fingerprint=aa:bb',
    'tenancy=ocid1.tenancy.oc1..aaaa',
    'region=local',
    `key_file=${keyFile}`,
  ];
  await writeFile(configFile, `${lines.join('\n')}\n`);
  return Object.assign(cloud, { endpoint: `http://127.0.0.1:${port}`, configFile, folder });
}

/** Data rather than the tables of an image. */
const LONG_RANGE_BYTES = 2 ** 20;

class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

type Answer = { readonly body?: unknown; readonly headers?: Record<string, string> };

class Cloud {
  readonly images: CloudImage[] = [];
  readonly objects = new Map<string, string>();
  readonly regions = new Map<string, TestCloud>();
  readonly pars: object[] = [];
  readonly faults: Faults = {};
  readonly requests: string[] = [];
  sentBytes = 0;
  #archive: FileHandle | undefined;
  #archiveBytes = 0;
  readonly #work = new Map<string, WorkRequest>();
  /** First answers by operation and retry token. */
  readonly #answers = new Map<string, Answer>();
  #held: (() => void)[] = [];

  async serve(archive: string): Promise<void> {
    this.#archive = await open(archive);
    this.#archiveBytes = (await this.#archive.stat()).size;
  }

  async close(): Promise<void> {
    await this.#archive?.close();
  }

  madeCount(): number {
    return this.#work.size;
  }

  release(): void {
    delete this.faults.holdBehindBytes;
    for (const go of this.#held) go();
    this.#held = [];
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://cloud');
    const method = request.method ?? '';
    const line = `${method} ${url.pathname}`;
    this.requests.push(line);
    if (!/^Signature /.test(request.headers.authorization ?? '')) throw new Refusal(401, 'NotAuthenticated');
    const { refuse } = this.faults;
    if (refuse !== undefined && refuse.times > 0 && line.startsWith(refuse.start)) {
      refuse.times--;
      throw new Refusal(refuse.status, refuse.code);
    }
    const body = await bodyOf(request);
    const object = /^\/n\/ns\/b\/exports\/o\/([^/]+)$/.exec(url.pathname)?.[1];
    if (object !== undefined) return this.#object(decodeURIComponent(object), request, response);
    const token = request.headers['opc-retry-token'];
    const kept = this.#answers.get(`${line} ${token}`);
    const answer = kept ?? this.#operation(method, url, body);
    if (token !== undefined) this.#answers.set(`${line} ${token}`, answer);
    const operation = url.pathname.endsWith('/actions/export') ? 'export' : 'createImage';
    if (method === 'POST' && this.faults.loseAnswerTo === operation) {
      this.faults.loseAnswerTo = undefined;
      response.destroy();
      return;
    }
    response.writeHead(200, {
      'content-type': 'application/json',
      'opc-request-id': randomUUID(),
      ...answer.headers,
    });
    response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }

  #operation(method: string, url: URL, body: { readonly [name: string]: unknown }): Answer {
    const path = url.pathname.replace(/^\/20160918/, '');
    const [, kind, id = ''] = path.split('/');
    if (path === '/n') return { body: NAMESPACE };
    if (path === `/n/ns/b/${BUCKET}`) return { body: { namespace: NAMESPACE, name: BUCKET } };
    if (path === `/n/ns/b/${BUCKET}/actions/copyObject`) return this.#copy(body);
    if (path === `/n/ns/b/${BUCKET}/p`) return this.#par(body);
    if (path.startsWith('/n/')) throw new Refusal(404, 'BucketNotFound');
    if (kind === 'instances' && id === INSTANCE_ID) return { body: instance };
    if (kind === 'bootVolumeAttachments') return { body: [attachment] };
    if (kind === 'bootVolumes') return { body: { id: VOLUME_ID, sizeInMBs: 51200 } };
    if (kind === 'workRequests') return { body: this.#workRequest(id, path.endsWith('/errors')) };
    if (kind === 'images') return this.#imageOperation(method, id, url, body);
    throw new Refusal(404, 'NotAuthorizedOrNotFound');
  }

  #imageOperation(method: string, id: string, url: URL, body: { readonly [name: string]: unknown }): Answer {
    if (id === PLATFORM_IMAGE_ID && method === 'GET') return { body: platformImage };
    if (method === 'POST' && id === '') return this.#createImage(body);
    if (method === 'GET' && id === '') {
      const name = url.searchParams.get('displayName');
      return { body: this.images.filter(({ displayName }) => displayName === name) };
    }
    const image = this.images.find((each) => each.id === id);
    if (image === undefined) throw new Refusal(404, 'NotAuthorizedOrNotFound');
    if (method === 'GET') return { body: image };
    if (method === 'DELETE') {
      this.images.splice(this.images.indexOf(image), 1);
      return {};
    }
    return this.#export(image, String(body.objectName));
  }

  /** Into another region, which is another cloud. */
  #copy(body: { readonly [name: string]: unknown }): Answer {
    if (this.objects.get(String(body.sourceObjectName)) !== body.sourceObjectIfMatchETag)
      throw new Refusal(412, 'IfMatchFailed');
    const target = this.regions.get(String(body.destinationRegion));
    if (target === undefined) throw new Refusal(400, 'InvalidRegion');
    const work = this.#startWork(
      () => target.objects.set(String(body.destinationObjectName), randomUUID()),
      'COMPLETED',
    );
    return { headers: { 'opc-work-request-id': work.id } };
  }

  #par(body: { readonly [name: string]: unknown }): Answer {
    this.pars.push(body);
    const accessUri = `/p/token/n/ns/b/${BUCKET}/o/${body.objectName}`;
    return { body: { ...body, id: 'par-1', accessUri, timeCreated: new Date(0).toISOString() } };
  }

  #createImage(body: { readonly [name: string]: unknown }): Answer {
    const displayName = String(body.displayName);
    const source = body.imageSourceDetails as { readonly objectName: string } | undefined;
    if (source !== undefined && !this.objects.has(source.objectName))
      throw new Refusal(400, 'InvalidParameter');
    const id = `ocid1.image.oc1.test.${randomUUID()}`;
    const image = { id, displayName, lifecycleState: 'PROVISIONING' };
    this.images.push(image);
    const work = this.#startWork(() => {
      image.lifecycleState = this.faults.failNextImage ? 'DELETED' : 'AVAILABLE';
      if (!this.faults.failNextImage) return;
      this.faults.failNextImage = false;
      work.status = 'FAILED';
      work.errors.push({
        code: 'OutOfCapacity',
        message: 'no room today',
        timestamp: new Date(0).toISOString(),
      });
    });
    return { body: image, headers: { 'opc-work-request-id': work.id } };
  }

  #export(image: CloudImage, name: string): Answer {
    if (image.lifecycleState !== 'AVAILABLE') throw new Refusal(409, 'Conflict');
    image.lifecycleState = 'EXPORTING';
    const work = this.#startWork(() => {
      image.lifecycleState = 'AVAILABLE';
      if (this.faults.loseNextExport) this.faults.loseNextExport = false;
      else this.objects.set(name, randomUUID());
    });
    return { body: image, headers: { 'opc-work-request-id': work.id } };
  }

  #startWork(finish: () => void, success = 'SUCCEEDED'): WorkRequest {
    const work = {
      id: `ocid1.coreservicesworkrequest.oc1.test.${randomUUID()}`,
      status: 'IN_PROGRESS',
      percentComplete: 0,
      errors: [],
    };
    this.#work.set(work.id, work);
    this.#finishing.set(work.id, () => {
      work.status = success;
      finish();
    });
    return work;
  }

  readonly #finishing = new Map<string, () => void>();

  /** Each look at it finds it half as far again. */
  #workRequest(id: string, wantsErrors: boolean): unknown {
    const work = this.#work.get(id);
    if (work === undefined) throw new Refusal(404, 'NotAuthorizedOrNotFound');
    if (wantsErrors) return work.errors;
    if (work.percentComplete < 100) work.percentComplete += 50;
    const finish = this.#finishing.get(id);
    if (work.percentComplete === 100 && finish !== undefined) {
      this.#finishing.delete(id);
      finish();
    }
    return work;
  }

  async #object(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const etag = this.objects.get(name);
    if (etag === undefined) throw new Refusal(404, 'ObjectNotFound');
    const match = request.headers['if-match'];
    if (match !== undefined && match !== etag) throw new Refusal(412, 'IfMatchFailed');
    const headers = {
      etag,
      ...(this.faults.diskDigest !== undefined && { 'gantry-disk-digest': this.faults.diskDigest }),
    };
    if (request.method === 'DELETE') {
      this.objects.delete(name);
      response.writeHead(204).end();
      return;
    }
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...headers, 'content-length': this.#archiveBytes }).end();
      return;
    }
    const [, from = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const bytes = Buffer.alloc(Number(last) - Number(from) + 1);
    const isBehind = Number(from) >= (this.faults.holdBehindBytes ?? Number.POSITIVE_INFINITY);
    if (isBehind && bytes.length >= LONG_RANGE_BYTES)
      await new Promise<void>((resolve) => this.#held.push(resolve));
    await this.#archive?.read(bytes, 0, bytes.length, Number(from));
    this.sentBytes += bytes.length;
    response.writeHead(206, {
      ...headers,
      'content-length': bytes.length,
      'content-range': `bytes ${from}-${last}/${this.#archiveBytes}`,
    });
    response.end(bytes);
  }
}

const instance = {
  id: INSTANCE_ID,
  displayName: 'web 01',
  availabilityDomain: 'AD-1',
  compartmentId: COMPARTMENT_ID,
  lifecycleState: 'RUNNING',
  shape: 'VM.Standard.E4.Flex',
  shapeConfig: { ocpus: 1, memoryInGBs: 4 },
  launchOptions: { firmware: 'UEFI_64' },
  sourceDetails: { sourceType: 'image', imageId: PLATFORM_IMAGE_ID },
};
const platformImage = {
  id: PLATFORM_IMAGE_ID,
  operatingSystem: 'Oracle Linux',
  operatingSystemVersion: '9',
  lifecycleState: 'AVAILABLE',
};
const attachment = { bootVolumeId: VOLUME_ID, instanceId: INSTANCE_ID, lifecycleState: 'ATTACHED' };

async function bodyOf(request: IncomingMessage): Promise<{ readonly [name: string]: unknown }> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return text === '' ? {} : JSON.parse(text);
}
