import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '../../domain/errors.ts';
import type { Answer, Idempotency } from '../../jobs/idempotency.ts';

const LONGEST_KEY = 255;

/**
 * Runs a request once for its `Idempotency-Key`: sent again, it gets the first answer, and the header
 * `Idempotent-Replay: true`. Without the header it just runs.
 */
export async function idempotently(
  idempotency: Idempotency,
  request: FastifyRequest,
  reply: FastifyReply,
  run: () => Promise<Answer>,
): Promise<void> {
  const key = request.headers['idempotency-key'];
  if (key === undefined) {
    const answer = await run();
    await reply.status(answer.statusCode).send(answer.body);
    return;
  }
  if (typeof key !== 'string' || key.length === 0 || key.length > LONGEST_KEY) {
    throw new DomainError('INVALID', `an Idempotency-Key has 1 to ${LONGEST_KEY} characters`);
  }
  const sha256 = createHash('sha256').update(
    JSON.stringify([request.method, request.url, request.body ?? null]),
  );
  const answer = await idempotency.once(request.principal.tenancyId, key, sha256.digest('hex'), run);
  if (answer.isReplay) reply.header('idempotent-replay', 'true');
  await reply.status(answer.statusCode).send(answer.body);
}
