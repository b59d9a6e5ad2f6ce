import { CommandError, usageError } from '../errors/command-error.ts';

/** `oci://PROFILE/OCID`, as VirtualBox writes it, or `oci://PROFILE/REGION`. */
export interface OciPlace {
  readonly profile: string;
  readonly name: string;
}

export function isOciPlace(text: string): boolean {
  return /^oci:\/\//i.test(text);
}

/** Throws USAGE for what is not `oci://PROFILE/OCID` of this type. */
export function ociPlace(text: string, type: 'instance' | 'image'): OciPlace {
  const place = parsed(text, 'OCID', `the OCID of the ${type}`);
  if (place.name.startsWith(`ocid1.${type}.`)) return place;
  throw usageError(`${JSON.stringify(place.name)} is no OCID of an ${type}`, `it begins with ocid1.${type}.`);
}

/** Throws USAGE for what is not `oci://PROFILE/REGION`. */
export function ociRegion(text: string): OciPlace {
  const place = parsed(text, 'REGION', 'the region');
  if (/^[a-z][a-z0-9-]*$/.test(place.name)) return place;
  throw usageError(`${JSON.stringify(place.name)} is no region`, 'write it as OCI does: eu-frankfurt-1');
}

function parsed(text: string, what: string, hint: string): OciPlace {
  const [, profile, name] = /^oci:\/\/([^/]+)\/([^/]+)$/i.exec(text) ?? [];
  if (profile !== undefined && name !== undefined) return { profile: decoded(profile), name };
  throw usageError(
    `${JSON.stringify(text)} is not oci://PROFILE/${what}`,
    `write the profile of the OCI configuration file, and ${hint}`,
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new CommandError('USAGE', `${JSON.stringify(text)} is no profile`);
  }
}
