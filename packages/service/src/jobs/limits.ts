/** A job that fails for a reason that may pass is tried this often, counted anew from each new checkpoint. */
export const MAX_ATTEMPTS = 3;

/**
 * A job that so many workers died with, without a new checkpoint in between, is not given to another: it may
 * be what kills them. Generous, as power cuts and restarts count too.
 */
export const MAX_LOST_WORKERS = 10;

/** Lines that one attempt writes to its job's log; what comes after them goes to nobody. */
export const MAX_LOG_LINES = 2000;

/** Characters of a log line, which may quote names from an image. */
export const MAX_LOG_LINE_LENGTH = 4000;
