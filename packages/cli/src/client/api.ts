// What the native API answers, as far as the command uses it; `/api/v1/docs` of a service describes it all.

import type { Plain } from '../output/yaml.ts';

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextStartAfter: string | null;
}

export interface Bucket {
  readonly name: string;
  readonly compartmentId: string;
  readonly createdAtMs: number;
}

export interface ObjectEntry {
  readonly key: string;
  readonly lengthBytes: number;
  readonly etag: string;
  readonly contentType: string | null;
  readonly createdAtMs: number;
  /** What the object shows when it is a view of an image. */
  readonly view: { readonly [key: string]: unknown } | null;
}

/** A pre-authenticated request. */
export interface Par {
  readonly id: string;
  readonly name: string;
  readonly accessType: string;
  readonly key: string | null;
  readonly allowsListing: boolean;
  readonly expiresAtMs: number;
  readonly createdAtMs: number;
}

export interface MadePar extends Par {
  readonly url: string;
}

export interface UploadPart {
  readonly partNumber: number;
  readonly lengthBytes: number;
  readonly etag: string;
}

export interface Upload {
  readonly id: string;
  readonly key: string;
  readonly createdAtMs: number;
}

export interface UploadWithParts extends Upload {
  readonly parts: readonly UploadPart[];
}

export interface Image {
  readonly id: string;
  readonly name: string;
  readonly sourceFormat: string;
  readonly virtualSizeBytes: number;
  readonly diskDigest: string;
  readonly createdAtMs: number;
  /** What the headers of the imported file said. */
  readonly details: Plain;
  readonly state: 'available' | 'exporting';
  readonly compartmentId: string;
  readonly operatingSystem: string;
  readonly operatingSystemVersion: string;
  readonly launchMode: string | null;
  readonly launchOptions: Plain;
  /** Of an image of an instance: its point in time, and how its disk was then. */
  readonly capturedAtMs: number | null;
  readonly consistency: 'shutdown' | 'agent' | 'crash' | null;
  readonly freeformTags: Readonly<Record<string, string>>;
}

export interface Instance {
  readonly id: string;
  readonly name: string;
  /** In the words of OCI: `RUNNING`, `STOPPED`, … */
  readonly state: string;
  readonly stateReason: string | null;
  readonly jobId: string | null;
  readonly compartmentId: string;
  readonly shape: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly imageId: string | null;
  readonly launchMode: string | null;
  readonly launchOptions: Plain;
  readonly metadata: Readonly<Record<string, string>>;
  readonly freeformTags: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
}

export interface InstanceWithVolumes extends Instance {
  /** What it starts from first. */
  readonly volumes: readonly { readonly volumeId: string; readonly kind: 'boot' | 'block' }[];
}

export interface Volume {
  readonly id: string;
  readonly name: string;
  readonly kind: 'boot' | 'block';
  readonly state: string;
  readonly sizeBytes: number;
  readonly imageId: string | null;
  readonly isFilled: boolean;
  readonly instanceId: string | null;
  readonly createdAtMs: number;
}

type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'canceled';

export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly state: JobState;
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  readonly bytesPerSecond: number | null;
  readonly result: { readonly [key: string]: unknown } | null;
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string | null } | null;
  readonly attempt: number;
  /** Of the whole job. */
  readonly percentDone: number;
  readonly createdAtMs: number;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
}

export interface JobLogLine {
  readonly atMs: number;
  readonly level: 'info' | 'warning' | 'error';
  readonly message: string;
}

export interface JobWithLog extends Job {
  readonly log: readonly JobLogLine[];
}

export interface Tenancy {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** What the clients of OCI call it. */
  readonly ocid: string;
  readonly createdAtMs: number;
}

export interface User {
  readonly id: string;
  readonly name: string;
  readonly role: 'administrator' | 'member';
  readonly description: string;
  readonly email: string | null;
  readonly ocid: string;
  readonly createdAtMs: number;
}

export interface WhoAmI {
  readonly user: User;
  readonly tenancy: Tenancy;
  readonly region: string;
}

export interface ApiKey {
  readonly fingerprint: string;
  readonly publicKeyPem: string;
  readonly createdAtMs: number;
}

export interface Grant {
  readonly id: string;
  readonly verb: string;
  readonly resource: string;
  readonly compartmentId: string;
  readonly createdAtMs: number;
}

export interface Compartment {
  readonly id: string;
  /** Null for the root. */
  readonly parentId: string | null;
  readonly name: string;
  readonly description: string;
  readonly ocid: string;
  readonly createdAtMs: number;
}
