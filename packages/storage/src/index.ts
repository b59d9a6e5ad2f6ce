export { openFolderStore } from './folder-store.ts';
export {
  type GuardedSend,
  guardedFetch,
  guardedSend,
  type NetGuardOptions,
  requireGuardedAddress,
} from './net-guard.ts';
export type { ObjectStore, PutOptions, PutResult, StoredPiece } from './object-store.ts';
export { newStoredName } from './stored-names.ts';
