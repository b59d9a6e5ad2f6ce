/** What the operator decides when the service is started. */
export interface ServeOptions {
  /** Everything that the service keeps stands here; made when absent. One process at a time. */
  readonly dataFolder: string;
  /** HOST:PORT; port 0 takes any that is free. */
  readonly listen: string;
  /** `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`. Default `info`. */
  readonly logLevel?: string | undefined;
  /** Hosts, `host:port` and subnets that imports may reach although they are not public. */
  readonly allowNetworks?: readonly string[] | undefined;
  /** `postgres://…`, or by default a SQLite file in the data folder. */
  readonly database?: string | undefined;
}

export interface RunningService {
  /** `http://HOST:PORT`, as clients reach it. */
  readonly address: string;
  /** Where the client's profile stands. */
  readonly profilePath: string;
  /** Ends requests and jobs; what ran goes on with the next start. Resolves when all is closed. */
  stop(): Promise<void>;
}
