import { findSigner } from '../../db/repositories/api-keys.ts';
import type { Queries } from '../../db/transactions.ts';
import type { Principal } from '../tokens.ts';
import { parseAuthorization, SignatureRefused } from './authorization.ts';
import { isSignedBy, requireSignedParts, type SentRequest } from './signature.ts';

/** Whose key an id of the form TENANCY/USER/FINGERPRINT names, in our ids; undefined for what is no such id. */
export type KeyIdReader = (
  keyId: string,
) => { readonly tenancyId: string; readonly userId: string; readonly fingerprint: string } | undefined;

/**
 * Finds out who signed a request. Its body is not read for that: `withBody` asks that its hash be signed, and
 * requireSignedBody compares it when the body is there. Throws SignatureRefused.
 */
export class OciSignatures {
  readonly #queries: Queries;
  readonly #readKeyId: KeyIdReader;
  readonly #now: () => number;

  constructor(queries: Queries, readKeyId: KeyIdReader, options: { now?: () => number } = {}) {
    this.#queries = queries;
    this.#readKeyId = readKeyId;
    this.#now = options.now ?? Date.now;
  }

  async signerOf(request: SentRequest, { withBody }: { withBody: boolean }): Promise<Principal> {
    const parameters = parseAuthorization(request.headers.authorization);
    if (request.headers['opc-obo-token'] !== undefined || parameters.headers.includes('opc-obo-token')) {
      throw new SignatureRefused(
        'opc-obo-token was sent',
        'Delegation tokens are not offered here: sign with an API key of your own.',
      );
    }
    if (parameters.keyId.startsWith('ST$')) {
      throw new SignatureRefused(
        'the key is a session token',
        'Session tokens are not offered here: sign with an API key.',
      );
    }
    requireSignedParts(parameters, request, { withBody, nowMs: this.#now() });
    const { keyId } = parameters;
    const key = this.#readKeyId(keyId);
    if (key === undefined) throw new SignatureRefused('the keyId is not TENANCY/USER/FINGERPRINT');
    const signer = await findSigner(this.#queries, key);
    if (signer === undefined) throw new SignatureRefused(`there is no key ${keyId}`);
    if (!isSignedBy(signer.public_key_pem, parameters, request)) {
      throw new SignatureRefused(`the signature is not by ${keyId} over this request`);
    }
    return { userId: signer.id, tenancyId: signer.tenancy_id, role: signer.role };
  }
}
