export type { CloudAccount, CloudProgress, CloudTools } from './image-recipes/cloud-image.ts';
export { RecipeFailed } from './image-recipes/cloud-image.ts';
export { type Replica, type ReplicaWish, replicateCloudImage } from './image-recipes/replicate.ts';
export { type SharedImage, type ShareWish, shareCloudImage } from './image-recipes/share.ts';
export {
  type ImportOutcome,
  type ImportPlan,
  type ImportTools,
  type ImportWish,
  importInstance,
  planInstanceImport,
  resumeInstanceImport,
} from './import-instance/import.ts';
export type { ImportListener, ImportPhase, ImportProgress } from './import-instance/progress.ts';
export type { ImportState } from './import-instance/state.ts';
export type { Leftover } from './oci/removal.ts';
