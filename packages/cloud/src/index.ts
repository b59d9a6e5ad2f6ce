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
