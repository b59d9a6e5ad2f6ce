import type { ImageRow, InstanceRow, VolumeRow } from '../db/schema.ts';
import type { InstanceFacts } from '../machines/instance-machine.ts';
import type { Machines } from '../machines/machines.ts';
import { seenGuest } from './seen-guest.ts';
import { requireShape, type Shape } from './shapes.ts';

/** What of an instance decides about its machine. Throws INVALID for a shape that the operator offers no more. */
export function factsOf(
  { shapes, machines }: { readonly shapes: readonly Shape[]; readonly machines: Machines },
  row: InstanceRow,
  volumes: readonly VolumeRow[],
  image: Pick<ImageRow, 'operating_system' | 'proposal_json'> | undefined,
): InstanceFacts {
  return {
    id: row.id,
    name: row.name,
    architecture: requireShape(shapes, row.shape).architecture,
    cpuCount: row.cpu_count,
    memoryBytes: row.memory_bytes,
    launchOptions: row.launch_options_json === null ? undefined : JSON.parse(row.launch_options_json),
    operatingSystem: image?.operating_system ?? '',
    clock: seenGuest(image)?.clock,
    network: machines.network,
    volumes: volumes.map((volume) => machines.files.fileOf(volume)),
  };
}
