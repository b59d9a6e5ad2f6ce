import { DomainError } from './errors.ts';

/** What a pre-authenticated request allows, in OCI's words. `Any…` is every object, or those of a prefix. */
export const parAccessTypes = [
  'ObjectRead',
  'ObjectWrite',
  'ObjectReadWrite',
  'AnyObjectRead',
  'AnyObjectWrite',
  'AnyObjectReadWrite',
] as const;
export type ParAccessType = (typeof parAccessTypes)[number];

export type ParAction = 'read' | 'write' | 'list';

/** What of a pre-authenticated request decides what it is good for. */
export interface ParScope {
  readonly accessType: ParAccessType;
  /** The object; of `Any…` the prefix of keys, undefined for the whole bucket. */
  readonly objectKey: string | undefined;
  readonly allowsListing: boolean;
}

/** All that it allows, whatever the object. */
export function actionsOf({ accessType, allowsListing }: ParScope): readonly ParAction[] {
  const actions: ParAction[] = [];
  if (accessType.includes('Read')) actions.push('read');
  if (accessType.endsWith('Write')) actions.push('write');
  if (allowsListing) actions.push('list');
  return actions;
}

/** Whether it allows this of the key; of a listing, whether it allows any. */
export function allows(scope: ParScope, action: ParAction, key: string): boolean {
  if (!actionsOf(scope).includes(action)) return false;
  if (action === 'list') return true;
  const { objectKey } = scope;
  return isForMany(scope.accessType) ? key.startsWith(objectKey ?? '') : key === objectKey;
}

export function isForMany(accessType: ParAccessType): boolean {
  return accessType.startsWith('Any');
}

/** Throws INVALID for what goes together in no request. */
export function requireScope({ accessType, objectKey, allowsListing }: ParScope): void {
  if (objectKey === undefined && !isForMany(accessType)) {
    throw new DomainError('INVALID', `${accessType} is for one object: name it`, {
      hint: `take Any${accessType} for all objects of the bucket`,
    });
  }
  if (allowsListing && !/^AnyObjectRead/.test(accessType)) {
    throw new DomainError('INVALID', `${accessType} cannot allow to list objects`, {
      hint: 'take AnyObjectRead or AnyObjectReadWrite, or do not allow to list',
    });
  }
}
