import { apiPath } from './paths.ts';

export function volumePath(id: string): string {
  return apiPath('volumes', id);
}
