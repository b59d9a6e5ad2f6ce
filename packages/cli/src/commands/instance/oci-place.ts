import { usageError } from '../../errors/command-error.ts';

/** `oci://PROFILE/OCID`, as VirtualBox writes it. */
export interface OciPlace {
  readonly profile: string;
  readonly ocid: string;
}

/** Throws USAGE for what is not `oci://PROFILE/OCID` of this type. */
export function ociPlace(text: string, type: 'instance' | 'image'): OciPlace {
  const [, profile, ocid] = /^oci:\/\/([^/]+)\/([^/]+)$/i.exec(text) ?? [];
  if (profile === undefined || ocid === undefined) {
    throw usageError(
      `${JSON.stringify(text)} is not oci://PROFILE/OCID`,
      `write the profile of the OCI configuration file and the OCID of the ${type}`,
    );
  }
  if (ocid.startsWith(`ocid1.${type}.`)) return { profile: decoded(profile), ocid };
  throw usageError(`${JSON.stringify(ocid)} is no OCID of an ${type}`, `it begins with ocid1.${type}.`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
