import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '../../../domain/errors.ts';
import { answerOciError, OciError } from '../errors.ts';
import { bucketNotFound } from './names.ts';

/** Answers an error in the codes of object storage, which say more than those of other services. */
export function answerObjectStorageError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  return answerOciError(translated(error, request), request, reply);
}

function translated(error: unknown, request: FastifyRequest): unknown {
  if (!(error instanceof DomainError)) return error;
  const { namespace = '', bucket, '*': object } = request.params as Record<string, string | undefined>;
  const { code, subject, message } = error;
  // Who may see the bucket and not do this is told so; who may not see it learns nothing.
  if (bucket !== undefined && code === 'NOT_FOUND' && subject === 'bucket') {
    return bucketNotFound(namespace, bucket);
  }
  if (code === 'NOT_FOUND' && subject === 'object') {
    const named = `The object '${object}' was not found in the bucket '${bucket}'`;
    return new OciError(404, 'ObjectNotFound', object === undefined ? message : named);
  }
  if (code === 'NOT_FOUND' && subject === 'upload') return uploadNotFound();
  if (code === 'CONFLICT' && subject === 'bucket') {
    return new OciError(409, 'BucketAlreadyExists', message);
  }
  if (code === 'PRECONDITION_FAILED') {
    return new OciError(412, subject === 'if-none-match' ? 'IfNoneMatchFailed' : 'IfMatchFailed', message);
  }
  if (subject === 'md5') return new OciError(400, 'UnmatchedContentMD5', message);
  return error;
}

/** The same for one that is not there and one that another address has begun. */
export function uploadNotFound(): OciError {
  return new OciError(404, 'NotAuthorizedOrNotFound', 'There is no such unfinished upload');
}
