import assert from 'node:assert/strict';
import { crc32cAround } from '../../bytes/crc32c.ts';
import { latin1Text, viewOf } from '../../bytes/fields.ts';
import { guidAt } from './guids.ts';

const KIB = 1024;
const MIB = KIB * KIB;

/**
 * Asserts what MS-VHDX demands and Hyper-V checks, and what VirtualBox's backend (VHDX.cpp) needs beyond it, on
 * a dynamic or fixed image, with none of the reader's code but for the checksum and the GUIDs.
 */
export function assertHyperVOpens(file: Uint8Array, options: Readonly<Record<string, string>>): void {
  const view = viewOf(file);
  const u32 = (at: number) => view.getUint32(at, true);
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  const isSealed = (at: number, length: number) =>
    u32(at + 4) === crc32cAround(file.subarray(at, at + length), 4);
  assert.equal(latin1Text(file.subarray(0, 8)), 'vhdxfile', 'file type identifier');
  for (const at of [64 * KIB, 128 * KIB]) {
    assert.equal(latin1Text(file.subarray(at, at + 4)), 'head', 'header signature');
    assert.ok(isSealed(at, 4096), 'header checksum');
    assert.notEqual(guidAt(file, at + 16), guidAt(file, at + 32), 'write GUIDs are told apart');
    assert.ok(
      file.subarray(at + 48, at + 64).every((byte) => byte === 0),
      'LogGuid is zero: VirtualBox refuses any other',
    );
    assert.equal(view.getUint16(at + 64, true), 0, 'log version');
    assert.equal(view.getUint16(at + 66, true), 1, 'version');
    assert.ok(u32(at + 68) > 0 && u32(at + 68) % MIB === 0, 'log length');
    assert.ok(u64(at + 72) >= MIB && u64(at + 72) % MIB === 0, 'log offset');
    assert.ok(
      file.subarray(at + 80, at + 64 * KIB).every((byte) => byte === 0),
      'the rest of a header is reserved',
    );
  }
  assert.notEqual(u64(64 * KIB + 8), u64(128 * KIB + 8), 'one of the headers is the current one');
  const regions = new Map<string, readonly [offset: number, length: number]>();
  for (const at of [192 * KIB, 256 * KIB]) {
    assert.equal(latin1Text(file.subarray(at, at + 4)), 'regi', 'region table signature');
    assert.ok(isSealed(at, 64 * KIB), 'region table checksum');
    assert.equal(u32(at + 8), 2, 'region count');
    assert.equal(u32(at + 12), 0, 'reserved');
    for (const entry of [at + 16, at + 48]) {
      const [offset, length] = [u64(entry + 16), u32(entry + 24)];
      assert.ok(offset >= MIB && offset % MIB === 0 && length > 0 && length % MIB === 0, 'whole MiB');
      assert.equal(u32(entry + 28), 1, 'region is required');
      regions.set(guidAt(file, entry), [offset, length]);
    }
  }
  const [table = 0, tableLength = 0] = regions.get('2dc27766-f623-4200-9d64-115e9bfd4a08') ?? [];
  const [metadata = 0, metadataLength = 0] = regions.get('8b7ca206-4790-4b9a-b8fe-575f050f886e') ?? [];
  assertApart([
    [0, MIB],
    [u64(64 * KIB + 72), u32(64 * KIB + 68)],
    [table, tableLength],
    [metadata, metadataLength],
  ]);
  const item = metadataItems(file, metadata, metadataLength);
  const blockSize = u32(item('caa16737-fa36-4d43-b3b6-33f0aa44e76b', 8, 4));
  assert.equal(
    u32(item('caa16737-fa36-4d43-b3b6-33f0aa44e76b', 8, 4) + 4),
    options.subformat === 'fixed' ? 1 : 0,
  );
  const size = u64(item('2fa54224-cd1b-4876-b211-5dbed83bf4b8', 8, 6));
  const sector = u32(item('8141bf1d-a96f-4709-ba47-f233a8faab5f', 4, 6));
  assert.equal(sector, Number(options.logical_sector_size ?? 512));
  assert.ok([512, 4096].includes(u32(item('cda348c7-445d-4471-9cc9-e9885251c556', 4, 6))));
  item('beca12ab-b2e6-4523-93ef-c309e000c746', 16, 6);
  assert.ok(size > 0 && size % sector === 0, 'virtual disk size');
  const count = Math.ceil(size / blockSize);
  const ratio = (2 ** 23 * sector) / blockSize;
  const entries = count + Math.floor((count - 1) / ratio);
  assert.ok(entries * 8 <= tableLength, 'the region holds the table');
  const places: (readonly [number, number])[] = [];
  for (let i = 0; i < tableLength / 8; i++) {
    const entry = view.getBigUint64(table + i * 8, true);
    assert.equal(entry & 0xffff8n, 0n, 'reserved bits');
    if (i >= entries || (i + 1) % (ratio + 1) === 0 || options.subformat !== 'fixed') {
      if (entry === 0n) continue;
    }
    assert.ok(i < entries && (i + 1) % (ratio + 1) !== 0, 'only payload blocks are there');
    assert.equal(entry & 7n, 6n, 'payload blocks are fully present');
    places.push([Number(entry - 6n), blockSize]);
  }
  for (const [start, length] of places) assert.ok(start + length <= file.length, 'blocks are whole');
  assertApart([[0, Math.max(table + tableLength, metadata + metadataLength)], ...places]);
  assert.equal(file.length % MIB, 0, 'the file ends on a whole MiB');
}

function assertApart(places: readonly (readonly [start: number, length: number])[]): void {
  let end = 0;
  for (const [start, length] of places.toSorted((a, b) => a[0] - b[0])) {
    assert.ok(start >= end, `what stands at ${start} is apart from the rest`);
    end = start + length;
  }
}

function metadataItems(
  file: Uint8Array,
  region: number,
  regionLength: number,
): (guid: string, length: number, flags: number) => number {
  const view = viewOf(file);
  assert.equal(latin1Text(file.subarray(region, region + 8)), 'metadata', 'metadata signature');
  const count = view.getUint16(region + 10, true);
  assert.equal(count, 5, 'metadata entries');
  return (guid, length, flags) => {
    for (let at = region + 32; at <= region + 32 * count; at += 32) {
      if (guidAt(file, at) !== guid) continue;
      const offset = view.getUint32(at + 16, true);
      assert.ok(offset >= 64 * KIB && offset + length <= regionLength, 'an item stands behind the table');
      assert.equal(view.getUint32(at + 20, true), length);
      assert.equal(view.getUint32(at + 24, true), flags);
      return region + offset;
    }
    return assert.fail(`no metadata item ${guid}`);
  };
}
