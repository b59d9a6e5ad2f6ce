/** A whole machine image arrives in one request: only its sender's silence ends it. */
export const CONNECTION_IDLE_MS = 120_000;
