import type { HostLimits } from './domain/host-quota.ts';

/** What the operator decides when the service is started. */
export interface ServeOptions {
  /** Everything that the service keeps stands here; made when absent. One process at a time. */
  readonly dataFolder: string;
  /** HOST:PORT; port 0 takes any that is free. Among several, `oci=HOST:PORT` is for the OCI dialect alone. */
  readonly listen: string | readonly string[];
  /** `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`. Default `info`. */
  readonly logLevel?: string | undefined;
  /** Hosts, `host:port` and subnets that imports may reach although they are not public. */
  readonly allowNetworks?: readonly string[] | undefined;
  /** Larger disks are not imported; default 32 TiB. */
  readonly imageSizeMaxBytes?: number | undefined;
  /** A file of shapes that instances may have (docs/reference/oci.md); by default those of OCI's virtual machines. */
  readonly shapesFile?: string | undefined;
  /** `postgres://…`, or by default a SQLite file in the data folder. */
  readonly database?: string | undefined;
  /** This service's region; default `local`. */
  readonly region?: string | undefined;
  /** NAME=URL of the services of the operator's other regions. */
  readonly peers?: readonly string[] | undefined;
  /** A file whose bytes the services of all regions share, to ask each other on behalf of a user. */
  readonly realmKeyFile?: string | undefined;
  /** What runs instances; `none`: they are records. Default `qemu`. */
  readonly hypervisor?: 'qemu' | 'none' | undefined;
  /** `isolated`, `nat` or `bridge=NAME`; default `isolated`. */
  readonly instanceNetwork?: string | undefined;
  /** What all instances together may take of the host (domain/host-quota.ts). */
  readonly instanceLimits?: HostLimits | undefined;
  /** How long a guest that is asked to end has, where nobody says; default 15 minutes. */
  readonly instanceGraceMs?: number | undefined;
}

export interface RunningService {
  /** `http://HOST:PORT`, as clients reach it. */
  readonly address: string;
  /** What the clients of OCI take as their endpoint. */
  readonly ociEndpoint: string;
  /** Where the client's profile stands. */
  readonly profilePath: string;
  /** Ends requests and jobs; what ran goes on with the next start. Resolves when all is closed. */
  stop(): Promise<void>;
}
