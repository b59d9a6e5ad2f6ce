import { archiveKind } from '../../archives/kind.ts';
import { hasMagic } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import type { Format, ProbeBytes } from '../format.ts';

interface RefusedFormat {
  readonly name: string;
  readonly title: string;
  readonly extensions: readonly string[];
  readonly recognise: (probe: ProbeBytes) => boolean;
  /** Why it is refused: a sentence without its stop. */
  readonly reason: string;
  /** What the user can do. */
  readonly hint: string;
}

/** A mark at a place from the start of the file, one character a byte. */
function atStart(magic: string, offsetBytes = 0): RefusedFormat['recognise'] {
  return ({ head }) => hasMagic(head, magic, offsetBytes);
}

/** Refused because it was not built: another program reads it. */
function convertFirst(name: string): Pick<RefusedFormat, 'name' | 'hint'> {
  return { name, hint: `convert it first: qemu-img convert -f ${name} -O qcow2 <file> <file>.qcow2` };
}

function unpackFirst(name: string, command: string): Pick<RefusedFormat, 'name' | 'hint'> {
  return { name, hint: `unpack it first, with ${command}, and use the disk image that is inside` };
}

const table: readonly RefusedFormat[] = [
  {
    ...convertFirst('qed'),
    title: 'QED',
    extensions: ['qed'],
    recognise: atStart('QED\0'),
    reason: 'QED images are not read',
  },
  {
    ...convertFirst('parallels'),
    title: 'Parallels',
    extensions: ['hds', 'hdd'],
    recognise: ({ head }) => hasMagic(head, 'WithoutFreeSpace') || hasMagic(head, 'WithouFreSpacExt'),
    reason: 'Parallels images are not read',
  },
  {
    ...convertFirst('bochs'),
    title: 'Bochs',
    extensions: ['bochs'],
    recognise: atStart('Bochs Virtual HD Image'),
    reason: 'Bochs images are not read',
  },
  {
    ...convertFirst('dmg'),
    title: 'Apple disk image',
    extensions: ['dmg'],
    recognise: ({ tail }) => hasMagic(tail, 'koly', tail.length - 512),
    reason: 'Apple disk images are not read',
  },
  {
    ...convertFirst('cloop'),
    title: 'cloop',
    extensions: ['cloop'],
    recognise: atStart('#!/bin/sh\n#V2.0 Format\n'),
    reason: 'cloop images are not read',
  },
  {
    name: 'luks',
    title: 'LUKS',
    extensions: ['luks'],
    recognise: atStart('LUKS\xba\xbe'),
    reason: 'this is a LUKS container: the disk inside is encrypted',
    hint: 'decrypt it first, with cryptsetup open, and use the opened device; or declare raw to take it as it is, encrypted',
  },
  {
    name: 'tar',
    hint: 'unpack it with tar -x and use the disk image that is inside; or say what it is, ova or oci, if you know it to be that',
    title: 'tar',
    extensions: ['tar'],
    recognise: ({ head }) => archiveKind(head) === 'other',
    reason:
      'this tar archive begins neither with an OVF descriptor, as an OVA does, nor with the files of an .oci',
  },
  {
    ...unpackFirst('zip', 'unzip'),
    title: 'ZIP',
    extensions: ['zip'],
    recognise: atStart('PK\x03\x04'),
    reason: 'this is a ZIP archive and not a disk image',
  },
  {
    ...unpackFirst('bzip2', 'bunzip2'),
    title: 'bzip2',
    extensions: ['bz2'],
    // The block size, 1 to 9, follows, then the mark of a block or of the end.
    recognise: ({ head }) => {
      if (!hasMagic(head, 'BZh')) return false;
      return hasMagic(head, '\x31\x41\x59\x26\x53\x59', 4) || hasMagic(head, '\x17\x72\x45\x38\x50\x90', 4);
    },
    reason: 'this file is compressed with bzip2, and bzip2 files are not read',
  },
];

/** Formats that are known by their marks and refused by name, so that none of them is taken for a raw disk. */
export const refused: readonly Format[] = table.map(
  ({ name, title, extensions, recognise, reason, hint }) => ({
    name,
    title,
    extensions,
    recognise,
    async open(source) {
      throw new ImageError('IMAGE_UNSUPPORTED', `${source.name}: ${reason}`, {
        structure: `${title} file`,
        hint,
      });
    },
  }),
);
