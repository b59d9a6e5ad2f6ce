import { isZero } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { decodeTarHeader, memberName, TAR_BLOCK_BYTES, type TarHeader, untilNul } from './header.ts';
import { MEMBER_COUNT_MAX, NAME_BYTES_MAX, OCTAL_SIZE_MAX, PAX_BYTES_MAX } from './limits.ts';
import { decodePax, type PaxValues } from './pax.ts';

/** Where a member stands. Its name is data: nothing is ever opened by it. */
export interface TarPlace {
  readonly name: string;
  /** Only a `file` has bytes that can be opened; `special` is a link, a device, a sparse file and the like. */
  readonly kind: 'file' | 'folder' | 'special';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** What the walk wants: bytes of the archive, answered by `next(bytes)`, or to have a member seen. */
export type TarStep =
  | { readonly kind: 'read'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'member'; readonly member: TarPlace };

/** What headers before a member said about it. */
interface Ahead extends PaxValues {
  readonly isExtended?: boolean;
}

/**
 * Walks the headers of an archive, front to back, without reading a member. Ends at the first block of zeros or,
 * as archives without an end are common, where the archive does. Throws IMAGE_MALFORMED, IMAGE_LIMIT, and
 * IMAGE_TRUNCATED for a member that reaches beyond the end.
 */
export function* walkTar(lengthBytes: () => number): Generator<TarStep, void, Uint8Array> {
  const names = new Set<string>();
  let ahead: Ahead = {};
  for (let at = 0, count = 0; at < lengthBytes(); count++) {
    if (count >= MEMBER_COUNT_MAX) throw tooMany(at);
    requireInside(at, TAR_BLOCK_BYTES, lengthBytes(), 'tar header');
    const block = yield { kind: 'read', offsetBytes: at, lengthBytes: TAR_BLOCK_BYTES };
    if (isZero(block)) return;
    const header = decodeTarHeader(block, at);
    const dataBytes = at + TAR_BLOCK_BYTES;
    if (header.typeFlag === 'S') throw sparse(header.name, at);
    if ('xgLKX'.includes(header.typeFlag)) {
      const limit = 'LK'.includes(header.typeFlag) ? NAME_BYTES_MAX : PAX_BYTES_MAX;
      if (header.lengthBytes > limit) throw tooLong(header, at, limit);
      requireInside(dataBytes, header.lengthBytes, lengthBytes(), 'tar extended header');
      const bytes = yield { kind: 'read', offsetBytes: dataBytes, lengthBytes: header.lengthBytes };
      const isExtended = header.typeFlag !== 'g' || ahead.isExtended === true;
      ahead = { ...ahead, ...extended(header.typeFlag, bytes, dataBytes), isExtended };
      at = dataBytes + roundUp(header.lengthBytes, TAR_BLOCK_BYTES);
      continue;
    }
    const member = place(header, ahead, at);
    ahead = {};
    if (names.has(member.name)) throw malformed(`the archive holds ${JSON.stringify(member.name)} twice`, at);
    // A folder that is there twice hides nothing.
    if (member.kind !== 'folder') names.add(member.name);
    requireInside(dataBytes, member.lengthBytes, lengthBytes(), `member ${JSON.stringify(member.name)}`);
    yield { kind: 'member', member };
    at = dataBytes + roundUp(member.lengthBytes, TAR_BLOCK_BYTES);
  }
  if (ahead.isExtended) throw malformed('an extended header has no member behind it', lengthBytes());
}

/** What an extended header of this type says. */
function extended(typeFlag: string, bytes: Uint8Array, offsetBytes: number): PaxValues {
  if (typeFlag === 'L') return { name: memberName(untilNul(bytes)) };
  // The name that a link leads to.
  if (typeFlag === 'K') return {};
  const values = decodePax(bytes, offsetBytes);
  if (typeFlag !== 'g') return values;
  if (Object.keys(values).length === 0) return {};
  // For all members at once they make no sense, and programs differ about what they mean.
  throw malformed('a global PAX header gives a name, a size or a sparse map', offsetBytes);
}

function place(header: TarHeader, ahead: Ahead, at: number): TarPlace {
  const stated = ahead.lengthBytes ?? header.lengthBytes;
  // A field that could hold the size and holds another: two programs would see two archives.
  if (stated !== header.lengthBytes && stated <= OCTAL_SIZE_MAX) {
    throw malformed(`the sizes of a member differ: ${header.lengthBytes} and ${stated}`, at + 124);
  }
  const spoken = ahead.name ?? header.name;
  const name = usableName(spoken, at);
  const kind = kindOf(header.typeFlag, spoken, ahead.isSparse === true);
  // POSIX lets links and devices have a size without data; whether data follows is read differently.
  if (kind !== 'file' && '123456'.includes(header.typeFlag) && stated > 0) {
    throw malformed(`${JSON.stringify(name)} is no file and has a size`, at + 124);
  }
  return { name, kind, offsetBytes: at + TAR_BLOCK_BYTES, lengthBytes: stated };
}

function kindOf(typeFlag: string, name: string, isSparse: boolean): TarPlace['kind'] {
  if (typeFlag === '5') return 'folder';
  if (isSparse || (typeFlag !== '0' && typeFlag !== '7')) return 'special';
  // So old archives mark folders.
  return name.endsWith('/') ? 'folder' : 'file';
}

/** Without a leading `./`. Throws IMAGE_MALFORMED for names that could lead out of a folder. */
function usableName(stated: string, offsetBytes: number): string {
  const name = stated.replace(/^(?:\.\/+)+/, '').replace(/\/+$/, '') || '.';
  const refuse = (why: string) => malformed(`the name ${JSON.stringify(stated)} ${why}`, offsetBytes);
  if (name.length > NAME_BYTES_MAX) throw malformed('the name of a member is too long', offsetBytes);
  if (stated === '') throw malformed('a member has no name', offsetBytes);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\u0000-\u001f\u007f]/.test(name)) throw refuse('holds control characters');
  if (/^[\\/]|^[A-Za-z]:[\\/]/.test(name)) throw refuse('is absolute');
  if (name.split(/[\\/]/).includes('..')) throw refuse('leads out of the archive');
  return name.normalize('NFC');
}

function requireInside(offsetBytes: number, lengthBytes: number, endBytes: number, structure: string): void {
  if (offsetBytes + lengthBytes <= endBytes) return;
  throw new ImageError(
    'IMAGE_TRUNCATED',
    `${structure} needs ${lengthBytes} bytes at ${offsetBytes}, but the archive ends at ${endBytes}`,
    { structure, offsetBytes },
  );
}

function malformed(message: string, offsetBytes: number): ImageError {
  return new ImageError('IMAGE_MALFORMED', message, { structure: 'tar header', offsetBytes });
}

function sparse(name: string, offsetBytes: number): ImageError {
  return new ImageError(
    'IMAGE_UNSUPPORTED',
    `${JSON.stringify(name)} is stored as a sparse file of GNU tar`,
    {
      structure: 'tar header',
      offsetBytes,
      hint: 'unpack the archive with tar -x, and pack it again without --sparse',
    },
  );
}

function tooLong({ lengthBytes }: TarHeader, offsetBytes: number, limit: number): ImageError {
  const message = `an extended header of ${lengthBytes} bytes is longer than ${limit}`;
  return new ImageError('IMAGE_LIMIT', message, { structure: 'tar extended header', offsetBytes });
}

function tooMany(offsetBytes: number): ImageError {
  return new ImageError('IMAGE_LIMIT', `the archive has more than ${MEMBER_COUNT_MAX} members`, {
    structure: 'tar archive',
    offsetBytes,
    hint: 'unpack the archive with tar -x, and use the disk image that is inside',
  });
}
