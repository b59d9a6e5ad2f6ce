/** The service's own log, for its operator (pino fits). Secrets never go into it. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
