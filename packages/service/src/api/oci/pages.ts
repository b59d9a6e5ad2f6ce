import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { DomainError } from '../../domain/errors.ts';

/** What lists take. The SDK sends page tokens as they are, not percent-encoded. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  page: z.string().optional(),
});

/** Our cursor from the client's page token. Throws INVALID for one that is not ours. */
export function cursorOf(page: string | undefined): string | undefined {
  if (page === undefined || page === '') return undefined;
  if (/^[A-Za-z0-9_-]+$/.test(page)) return Buffer.from(page, 'base64url').toString('utf8');
  throw new DomainError('INVALID', 'the page is not one that a list gave');
}

/** Sets `opc-next-page`, absent on the last page; gives the items. */
export function answerPage<Item>(
  reply: FastifyReply,
  page: { readonly items: readonly Item[]; readonly next: string | undefined },
): readonly Item[] {
  if (page.next !== undefined) reply.header('opc-next-page', Buffer.from(page.next).toString('base64url'));
  return page.items;
}
