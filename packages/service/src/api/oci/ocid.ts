import { DomainError } from '../../domain/errors.ts';

/** What OCI calls a thing, and the kind of our id (db/ids.ts). */
const kindOfType = {
  tenancy: 'ten',
  compartment: 'cmp',
  user: 'usr',
  tagnamespace: 'tns',
  tagdefinition: 'tag',
  image: 'img',
  computeimagecapabilityschema: 'ics',
  instance: 'ins',
  bootvolume: 'vol',
  volume: 'vol',
  volumeattachment: 'vat',
  bootvolumeattachment: 'vat',
  consolehistory: 'coh',
  coreservicesworkrequest: 'job',
  identityworkrequest: 'cmp',
  bucket: 'bkt',
} as const;
export type OcidType = keyof typeof kindOfType;

/** Those that are the same in every region of a realm: their ids name none. */
const GLOBAL: readonly OcidType[] = [
  'tenancy',
  'compartment',
  'user',
  'tagnamespace',
  'tagdefinition',
  'identityworkrequest',
];
const OCID = /^ocid1\.([a-z]+)\.[a-z0-9]+\.[a-z0-9-]*\.([0-9a-f]{32})$/;

/** `ocid1.TYPE.oc1.REGION.UNIQUE` (Oracle Cloud IDs), where UNIQUE is our id without its kind. */
export function toOcid(type: OcidType, region: string, id: string): string {
  const unique = id.slice(id.indexOf('-') + 1);
  return `ocid1.${type}.oc1.${GLOBAL.includes(type) ? '' : region}.${unique}`;
}

/** What an id of ours is called where its kind alone tells. */
const typeOfKind: Readonly<Record<string, OcidType>> = {
  ...Object.fromEntries(Object.entries(kindOfType).map(([type, kind]) => [kind, type as OcidType])),
  vol: 'bootvolume',
  cmp: 'compartment',
  vat: 'bootvolumeattachment',
};
const OWN_ID = /\b([a-z]{3})-[0-9a-f]{32}\b/g;

/** A text in which ids of ours are the OCIDs that clients know. */
export function inOcids(text: string, region: string): string {
  return text.replaceAll(OWN_ID, (id, kind: string) => {
    const type = typeOfKind[kind];
    return type === undefined ? id : toOcid(type, region, id);
  });
}

/** A compartment's OCID; the root compartment goes by its tenancy's. */
export function compartmentOcid(id: string): string {
  return toOcid(id.startsWith('ten-') ? 'tenancy' : 'compartment', '', id);
}

/** Our id for an OCID of one of these types; undefined for what is none. */
export function fromOcid(types: readonly OcidType[], ocid: string): string | undefined {
  const [, type, unique] = OCID.exec(ocid) ?? [];
  const known = types.find((each) => each === type);
  return known === undefined ? undefined : `${kindOfType[known]}-${unique}`;
}

/** Throws INVALID for what is no OCID of a compartment or a tenancy. */
export function compartmentId(ocid: string): string {
  const id = fromOcid(['tenancy', 'compartment'], ocid);
  if (id !== undefined) return id;
  throw new DomainError('INVALID', `${JSON.stringify(ocid)} is no OCID of a compartment`);
}

/** Our id for the OCID in a path. Throws NOT_FOUND for what is no OCID of one of these types. */
export function idInPath(types: readonly OcidType[], ocid: string): string {
  const id = fromOcid(types, ocid);
  if (id !== undefined) return id;
  throw new DomainError('NOT_FOUND', `there is no ${types.join(' or ')} ${ocid}`);
}
