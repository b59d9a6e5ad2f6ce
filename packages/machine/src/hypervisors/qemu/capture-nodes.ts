import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import type { MachineDisk } from '../../model.ts';
import { belowSlot, diskName, diskNodes, SLOT_COUNT, slotNode } from './disk-nodes.ts';
import { nodeNames, removeNode } from './disks.ts';
import type { QmpClient } from './qmp.ts';

/** How long a write of the guest waits for the file that keeps what it replaces. Then the capture breaks, not the guest. */
const COPY_SECONDS = 15;
const POLL_MS = 10;

/** The nodes that hold the content of one disk at one point in time. */
export interface CaptureNodes {
  readonly disk: MachineDisk;
  readonly slot: number;
  /** Copies what is about to be replaced into `old`; it takes the place of what is below the slot. */
  readonly filter: string;
  readonly old: string;
  /** What is read: the old content where it was replaced, else the image's. */
  readonly view: string;
  /** The name and id of the export. */
  readonly exportName: string;
}

/** Names that no other capture has: the nodes of one that is gone are not taken for those of another. */
export function captureNodes(disk: MachineDisk, slot: number, captureId: string): CaptureNodes {
  const of = diskName(disk.path ?? '');
  const capture = createHash('sha256').update(captureId).digest('hex').slice(0, 8);
  return {
    disk,
    slot,
    filter: `cbw-${of}-${slot}-${capture}`,
    old: `old-${of}-${slot}-${capture}`,
    view: `pit-${of}-${slot}-${capture}`,
    exportName: `capture-${of}-${slot}-${capture}`,
  };
}

/** A slot that no capture of any of the disks has. Throws STORE_REFUSED when there is none. */
export async function freeSlot(qmp: QmpClient, disks: readonly MachineDisk[]): Promise<number> {
  const present = [...(await nodeNames(qmp))];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    const isTaken = disks.some(({ path = '' }) =>
      present.some((name) => name.startsWith(`cbw-${diskName(path)}-${slot}-`)),
    );
    if (!isTaken) return slot;
  }
  throw new StoreError('STORE_REFUSED', `a disk has ${SLOT_COUNT} captures already`, {
    where: disks[0]?.path ?? '',
    hint: 'wait until one of them has ended, or release it',
  });
}

/** The sizes of the disks as the guest sees them, by the names of their nodes. */
export async function imageSizes(qmp: QmpClient): Promise<ReadonlyMap<string, number>> {
  const list = (await qmp.execute('query-named-block-nodes', { flat: true })) as readonly {
    readonly 'node-name'?: string;
    readonly image: { readonly 'virtual-size': number };
  }[];
  return new Map(list.map((node) => [node['node-name'] ?? '', node.image['virtual-size']]));
}

/** Opens the file that keeps what is replaced, and makes the filter, which does nothing yet. */
export async function addFilter(qmp: QmpClient, nodes: CaptureNodes, path: string): Promise<void> {
  await qmp.execute('blockdev-add', {
    'node-name': nodes.old,
    driver: 'qcow2',
    file: { driver: 'file', filename: path },
  });
  await qmp.execute('blockdev-add', {
    'node-name': nodes.filter,
    driver: 'copy-before-write',
    file: belowSlot(diskNodes(nodes.disk), nodes.slot),
    target: nodes.old,
    'on-cbw-error': 'break-snapshot',
    'cbw-timeout': COPY_SECONDS,
  });
}

/** The point in time: from one moment on all filters are in the way of what the guest writes. */
export async function insertFilters(qmp: QmpClient, captured: readonly CaptureNodes[]): Promise<void> {
  const written = captured.filter(isWritten);
  if (written.length === 0) return;
  await qmp.execute('blockdev-reopen', {
    options: written.map(({ disk, slot, filter }) => slotNode(diskNodes(disk), slot, filter)),
  });
}

/** A disk that nobody writes to is read as it is. */
export function isWritten({ disk }: CaptureNodes): boolean {
  return diskNodes(disk).slots.length > 0;
}

/** Makes the content readable at the socket; what is there already stays. */
export async function addExports(
  qmp: QmpClient,
  captured: readonly CaptureNodes[],
  socketPath: string,
): Promise<void> {
  await qmp
    .execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
    .catch((error) => {
      if (!/already running/.test(String(error))) throw error;
    });
  const present = await nodeNames(qmp);
  const exported = await exportIds(qmp);
  for (const nodes of captured) {
    if (isWritten(nodes) && !present.has(nodes.view))
      await qmp.execute('blockdev-add', {
        'node-name': nodes.view,
        driver: 'snapshot-access',
        file: nodes.filter,
      });
    if (exported.has(nodes.exportName)) continue;
    await qmp.execute('block-export-add', {
      type: 'nbd',
      id: nodes.exportName,
      name: nodes.exportName,
      'node-name': isWritten(nodes) ? nodes.view : diskNodes(nodes.disk).image,
    });
  }
}

/** Takes it all away again, as far as it is there. */
export async function removeCapture(qmp: QmpClient, captured: readonly CaptureNodes[]): Promise<void> {
  for (const { exportName } of captured) await removeExport(qmp, exportName);
  const present = await nodeNames(qmp);
  for (const { view } of captured) if (present.has(view)) await removeNode(qmp, view);
  const inserted = captured.filter(({ filter }) => present.has(filter));
  if (inserted.length > 0) {
    await qmp.execute('blockdev-reopen', {
      options: inserted.map(({ disk, slot }) => {
        const nodes = diskNodes(disk);
        return slotNode(nodes, slot, belowSlot(nodes, slot));
      }),
    });
  }
  for (const { filter, old } of captured)
    for (const name of [filter, old]) if (present.has(name)) await removeNode(qmp, name);
}

async function removeExport(qmp: QmpClient, id: string): Promise<void> {
  if (!(await exportIds(qmp)).has(id)) return;
  await qmp.execute('block-export-del', { id, mode: 'hard' }).catch(() => {});
  // It ends when its last request has.
  while ((await exportIds(qmp)).has(id)) await delay(POLL_MS);
}

async function exportIds(qmp: QmpClient): Promise<ReadonlySet<string>> {
  const list = (await qmp.execute('query-block-exports')) as readonly { readonly id: string }[];
  return new Set(list.map(({ id }) => id));
}
