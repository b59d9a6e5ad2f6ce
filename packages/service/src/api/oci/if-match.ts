import type { FastifyRequest } from 'fastify';
import { conditionHolds, type EtagList } from '../../domain/object-conditions.ts';
import { writeCondition } from '../http/conditions.ts';
import { OciError } from './errors.ts';

/** What `if-match` asks for; undefined when it was not sent. */
export function ifMatch(request: FastifyRequest): EtagList | undefined {
  return writeCondition(request.headers).ifMatch;
}

/** Throws OciError 412 `NoEtagMatch` when the request has an `if-match` that is not of this ETag. */
export function requireMatch(request: FastifyRequest, etag: string): void {
  if (conditionHolds({ ifMatch: ifMatch(request) }, etag)) return;
  throw new OciError(412, 'NoEtagMatch', `if-match does not hold: the etag is ${etag}`);
}
