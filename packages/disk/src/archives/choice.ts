import { ImageError } from '../errors.ts';

/**
 * The one disk of an archive that is meant: the one of the name that was asked for, or the only one there is.
 * Throws IMAGE_OPTION, listing them, when that is not one, and IMAGE_MALFORMED when there is none.
 */
export function chosenDisk<Item>(
  disks: readonly Item[],
  namesOf: (disk: Item) => readonly string[],
  asked: string | undefined,
  archiveName: string,
): Item {
  const listed = disks.map((disk) => namesOf(disk)[0]).join(', ');
  const place = { structure: 'disk in an archive', hint: `choose one of ${listed}` };
  if (disks.length === 0) {
    throw new ImageError('IMAGE_MALFORMED', `${archiveName} holds no disk`, {
      structure: 'disk in an archive',
      hint: 'export the machine again, with its disks',
    });
  }
  const found = asked === undefined ? disks : disks.filter((disk) => namesOf(disk).includes(asked));
  const [disk] = found;
  if (disk === undefined) {
    throw new ImageError('IMAGE_OPTION', `${archiveName} holds no disk ${JSON.stringify(asked)}`, place);
  }
  if (found.length === 1) return disk;
  throw new ImageError('IMAGE_OPTION', `${archiveName} holds ${found.length} disks: ${listed}`, place);
}
