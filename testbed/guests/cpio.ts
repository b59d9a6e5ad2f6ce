/** A file of an archive; a path that ends with a slash is a folder. */
export interface CpioFile {
  readonly path: string;
  readonly content?: Uint8Array | string;
  readonly isProgram?: boolean;
}

const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;

/**
 * A cpio archive in the form `newc`, as the kernel unpacks it (Documentation/driver-api/early-userspace/
 * buffer-format.rst). It depends on the files alone: all are root's and of the year 1970.
 */
export function cpioArchive(files: readonly CpioFile[]): Buffer {
  const entries = files.map(({ path, content = '', isProgram = false }, index) => {
    const mode = path.endsWith('/') ? FOLDER : isProgram ? PROGRAM : FILE;
    return entry(path.replace(/\/$/, ''), Buffer.from(content), mode, index + 1);
  });
  return Buffer.concat([...entries, entry('TRAILER!!!', Buffer.alloc(0), 0, 0)]);
}

function entry(name: string, content: Buffer, mode: number, inode: number): Buffer {
  // Owner, group, links, time, size, four numbers of devices, length of the name, checksum.
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
  const header = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return Buffer.concat([padded(Buffer.from(`070701${header}${name}\0`)), padded(content)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
