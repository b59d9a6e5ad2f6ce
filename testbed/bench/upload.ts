import { execFileSync } from 'node:child_process';
import type { ServiceProcess } from '../service/service.testkit.ts';

/** Puts a file into the bucket `bench`, which has to be there. */
export function upload(service: ServiceProcess, file: string, key: string): void {
  execFileSync('curl', [
    '-sSf',
    '-H',
    `Authorization: Bearer ${service.token}`,
    '-o',
    '/dev/null',
    '--upload-file',
    file,
    `${service.address}/api/v1/buckets/bench/objects/${key}`,
  ]);
}
