import { memorySource } from '../../io/memory.ts';
import { encodeTarHeader } from './header.ts';
import { tarMembers } from './reader.ts';

/** One block with its data, as the test wants it: fields at offsets, the checksum made right at the end. */
export function rawMember(
  name: string,
  data: Uint8Array | string = '',
  fields: Readonly<Record<number, string | Uint8Array>> = {},
): Buffer {
  const bytes = Buffer.from(data);
  const header = Buffer.from(encodeTarHeader('x', bytes.length, 0));
  header.fill(0, 0, 100);
  header.write(name, 0);
  for (const [at, value] of Object.entries(fields)) header.set(Buffer.from(value), Number(at));
  withChecksum(header);
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

export function withChecksum(header: Buffer): void {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148);
}

/** A record of an extended header with its right length. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}

export function paxMember(...records: string[]): Buffer {
  return rawMember('PaxHeaders/x', records.join(''), { 156: 'x' });
}

/** What every member of the archive is: name, kind and data of files. */
export async function listTar(bytes: Uint8Array): Promise<{ name: string; kind: string; data: string }[]> {
  const members = [];
  for await (const member of tarMembers(memorySource(bytes, 'x.tar'))) {
    const data = Buffer.alloc(member.kind === 'file' ? member.lengthBytes : 0);
    if (member.kind === 'file') await member.open().read(0, data);
    members.push({ name: member.name, kind: member.kind, data: data.toString() });
  }
  return members;
}

/** Bytes that nothing compresses, the same each time. */
export function noise(lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = 42;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
