import { createHash, generateKeyPairSync, sign } from 'node:crypto';

/** A client of OCI that was made for these tests: what it signs, and how, is up to the test. */
export interface TestKey {
  readonly keyId: string;
  readonly privateKey: string;
}

export interface RequestToSign {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A new pair; 2048 bits are the least that the service takes. */
export function makeKeyPair(modulusLength = 2048): { publicKey: string; privateKey: string } {
  return generateKeyPairSync('rsa', {
    modulusLength,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
}

/** The headers that a body of JSON is sent with. */
export function bodyHeaders(body: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'x-content-sha256': createHash('sha256').update(body).digest('base64'),
  };
}

/** The Authorization header for what `names` lists, in that order and case. */
export function authorizationOf(key: TestKey, request: RequestToSign, names: readonly string[]): string {
  const lines = names.map((name) => {
    const lower = name.toLowerCase();
    if (lower === '(request-target)') return `${lower}: ${request.method.toLowerCase()} ${request.target}`;
    return `${lower}: ${request.headers[lower]}`;
  });
  const signature = sign('sha256', Buffer.from(lines.join('\n')), key.privateKey).toString('base64');
  return `Signature algorithm="rsa-sha256",headers="${names.join(' ')}",keyId="${key.keyId}",signature="${signature}",version="1"`;
}
