/** Whether guests can have a feature, not have it, or both. */
export type FeatureStates = readonly ('on' | 'off')[];

/** A kind of guest that a host runs. */
export interface HostGuest {
  /** `hvm`, `xen`, or another word of the host. */
  readonly type: string;
  readonly architecture: string;
  /** How it is run, in the order of the host: `qemu`, `kvm`, `xen`, `test`. */
  readonly domainTypes: readonly string[];
  readonly features: ReadonlyMap<string, FeatureStates>;
  /** The program that runs it, where one does. */
  readonly emulator?: string;
}

/** What a host can run. */
export interface Host {
  readonly guests: readonly HostGuest[];
}
