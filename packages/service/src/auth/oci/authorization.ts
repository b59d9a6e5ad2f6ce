/** What the Authorization header of a signed request says. */
export interface SignatureParameters {
  readonly version: string | undefined;
  readonly keyId: string;
  readonly algorithm: string;
  /** Names of what is signed, in order, in lower case. */
  readonly headers: readonly string[];
  readonly signature: Buffer;
}

/** Thrown for a request that is not signed as it must be. The message is for the service's log. */
export class SignatureRefused extends Error {
  /** What the client may know; most reasons are of no help to an honest one, and of some to others. */
  readonly publicMessage: string | undefined;

  constructor(reason: string, publicMessage?: string) {
    super(reason);
    this.name = 'SignatureRefused';
    this.publicMessage = publicMessage;
  }
}

/** `name="value"`, without escapes: no value that may stand here has a quote in it. */
const PARAMETER = /\s*([A-Za-z]+)\s*=\s*"([^"]*)"\s*(?:,|$)/y;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * Reads `Signature version="1",keyId="…",algorithm="rsa-sha256",headers="…",signature="…"`, in any order (OCI
 * request signatures, after draft-cavage-http-signatures-08, section 2.1). Throws SignatureRefused.
 */
export function parseAuthorization(header: string | undefined): SignatureParameters {
  if (header === undefined) throw new SignatureRefused('there is no Authorization header');
  const scheme = /^Signature\s+/i.exec(header)?.[0];
  if (scheme === undefined) throw new SignatureRefused('the scheme of Authorization is not Signature');
  const parameters = new Map<string, string>();
  PARAMETER.lastIndex = scheme.length;
  while (PARAMETER.lastIndex < header.length) {
    const [, name, value] = PARAMETER.exec(header) ?? [];
    if (name === undefined || value === undefined) throw new SignatureRefused('Authorization cannot be read');
    if (parameters.has(name)) throw new SignatureRefused(`Authorization gives ${name} twice`);
    parameters.set(name, value);
  }
  const needed = (name: string): string => {
    const value = parameters.get(name);
    if (value === undefined || value === '') throw new SignatureRefused(`Authorization gives no ${name}`);
    return value;
  };
  const signature = needed('signature');
  if (!BASE64.test(signature)) throw new SignatureRefused('the signature is no base64');
  return {
    version: parameters.get('version'),
    keyId: needed('keyId'),
    algorithm: needed('algorithm'),
    headers: needed('headers').trim().toLowerCase().split(/\s+/),
    signature: Buffer.from(signature, 'base64'),
  };
}
