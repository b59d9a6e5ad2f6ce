import type { ScreenTicketRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertScreenTicket(queries: Queries, row: ScreenTicketRow): Promise<void> {
  await queries.insertInto('screen_tickets').values(row).execute();
}

/** Takes a ticket away: of those who come with it at once, one gets it. */
export function takeScreenTicket(queries: Queries, sha256: string): Promise<ScreenTicketRow | undefined> {
  return queries
    .deleteFrom('screen_tickets')
    .where('ticket_sha256', '=', sha256)
    .returningAll()
    .executeTakeFirst();
}

export async function forgetScreenTickets(queries: Queries, beforeMs: number): Promise<void> {
  await queries.deleteFrom('screen_tickets').where('expires_at_ms', '<', beforeMs).execute();
}
