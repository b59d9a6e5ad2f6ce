import { bytesAt, text } from './fields.ts';
import { bytesOf, type CorpusImage, imageOf, imageOfBytes, joined, type Patch } from './image.ts';

export interface TarHeaderFields {
  readonly name: string;
  readonly lengthBytes: number;
  readonly type?: string;
  readonly linkName?: string;
  /** Changes before the sum is made. */
  readonly patches?: readonly Patch[];
}

/** A ustar header; its sum is right whatever was bent in it. */
export function tarHeader({
  name,
  lengthBytes,
  type = '0',
  linkName = '',
  patches = [],
}: TarHeaderFields): Uint8Array {
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  const bytes = bytesOf(
    imageOf(
      512,
      text(0, name.slice(0, 100)),
      text(100, '0000644\0'),
      text(108, '0000000\0'),
      text(116, '0000000\0'),
      text(124, `${octal(lengthBytes, 11)}\0`),
      text(136, '00000000000\0'),
      text(156, type),
      text(157, linkName),
      text(257, 'ustar\x0000'),
      ...patches,
      text(148, '        '),
    ),
  );
  bytes.set(
    Buffer.from(
      `${octal(
        bytes.reduce((sum, byte) => sum + byte, 0),
        6,
      )}\0 `,
    ),
    148,
  );
  return bytes;
}

export interface TarMember extends Omit<TarHeaderFields, 'lengthBytes'> {
  readonly content: CorpusImage | Uint8Array;
  /** What the header says; the content's own when absent. */
  readonly lengthBytes?: number;
}

/** The members one after the other, with the end that GNU tar writes. */
export function tarImage(members: readonly TarMember[], endBytes = 1024): CorpusImage {
  const parts: CorpusImage[] = [];
  for (const member of members) {
    const content = member.content instanceof Uint8Array ? imageOfBytes(member.content) : member.content;
    parts.push(
      imageOf(
        512,
        bytesAt(0, tarHeader({ ...member, lengthBytes: member.lengthBytes ?? content.lengthBytes })),
      ),
    );
    parts.push(content, imageOf((512 - (content.lengthBytes % 512)) % 512));
  }
  return joined(...parts, imageOf(endBytes));
}

/** One record of a PAX header: its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return `${length}${rest}`;
}
