import { hasMagic } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { chosenDisk } from '../choice.ts';
import { METADATA_NAME, QCOW2_MARK } from '../kind.ts';
import { type TarMember, tarMembers } from '../tar/reader.ts';
import { type OciDocument, ociDocumentWarnings, parseOciDocument } from './document.ts';
import { METADATA_BYTES_MAX } from './limits.ts';

/**
 * What an `.oci` archive holds: a qcow2 file of any name, and as a rule the document beside it, in any order. Of an
 * arriving archive, what stands behind the disk is found by `toEnd`, when the disk has been read.
 */
export class OciContents {
  readonly #source: ByteSource;
  readonly #asked: string | undefined;
  readonly #members: ReturnType<typeof tarMembers>;
  readonly #disks: TarMember[] = [];
  #document: OciDocument | undefined;
  #isEndSeen = false;
  /** What ended the walk before the archive did: who asks again hears of it again. */
  #failure: { readonly error: unknown } | undefined;

  constructor(source: ByteSource, { member, signal }: OpenOptions) {
    this.#source = source;
    this.#asked = member;
    this.#members = tarMembers(source, signal);
  }

  get document(): OciDocument | undefined {
    return this.#document;
  }

  /** What of the document is not as OCI writes it, one sentence each. */
  get warnings(): string[] {
    if (this.#document !== undefined) return ociDocumentWarnings(this.#document);
    return this.#isEndSeen ? [`the archive has no ${METADATA_NAME}: how to launch it is not known`] : [];
  }

  /** The disk that is meant. Throws IMAGE_OPTION when several could be, IMAGE_MALFORMED when there is none. */
  async disk(signal?: AbortSignal): Promise<TarMember> {
    while (!this.#isDiskFound && (await this.#next(signal)));
    return this.#chosen();
  }

  /** Takes in what is left of the archive, which may prove the choice of the disk wrong. */
  async toEnd(signal?: AbortSignal): Promise<void> {
    while (await this.#next(signal));
    this.#chosen();
  }

  get #isDiskFound(): boolean {
    const last = this.#disks.at(-1);
    if (this.#source.sequential !== true || last === undefined) return false;
    return this.#asked === undefined || this.#asked === last.name;
  }

  #chosen(): TarMember {
    return chosenDisk(this.#disks, ({ name }) => [name], this.#asked, this.#source.name);
  }

  /** Looks at one member more; false at the end. */
  async #next(signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure.error;
    try {
      const { done, value } = await this.#members.next(signal);
      if (done) this.#isEndSeen = true;
      else if (value.kind === 'file') await this.#look(value, signal);
      return done !== true;
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  async #look(member: TarMember, signal: AbortSignal | undefined): Promise<void> {
    if (member.name === METADATA_NAME) this.#document = parseOciDocument(await wholeMember(member, signal));
    else if (await isQcow2(member, signal)) this.#disks.push(member);
  }
}

/** By its mark: archives made by hand give it any name. */
async function isQcow2(member: TarMember, signal: AbortSignal | undefined): Promise<boolean> {
  if (member.lengthBytes < QCOW2_MARK.length) return false;
  const start = new Uint8Array(QCOW2_MARK.length);
  await member.open().read(0, start, signal);
  return hasMagic(start, QCOW2_MARK);
}

async function wholeMember(member: TarMember, signal: AbortSignal | undefined): Promise<Uint8Array> {
  if (member.lengthBytes > METADATA_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `${member.name} has ${member.lengthBytes} bytes: 1 MiB is the most`, {
      structure: METADATA_NAME,
      offsetBytes: member.offsetBytes,
    });
  }
  const bytes = new Uint8Array(member.lengthBytes);
  await member.open().read(0, bytes, signal);
  return bytes;
}
