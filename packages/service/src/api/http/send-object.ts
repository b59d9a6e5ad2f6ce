import type { FastifyReply, FastifyRequest } from 'fastify';
import { BLOCK_LIST_TYPE, RAW_DISK_TYPE } from '../../domain/image-blocks.ts';
import type { ObjectForm } from '../../domain/object-reader.ts';
import type { Objects } from '../../domain/objects.ts';
import { DISK_DIGEST_HEADER } from '../../domain/peer-image.ts';
import type { ObjectPlace, StoredObject } from '../../domain/stored-object.ts';
import { type Representation, sendHead, sendSource } from './send-source.ts';

/** What an object that shows an image answers besides its file, to who accepts it. */
const typeOfForm: Readonly<Record<Exclude<ObjectForm, 'file'>, string>> = {
  raw: RAW_DISK_TYPE,
  blocks: BLOCK_LIST_TYPE,
};

type Headers = Readonly<Record<string, string | undefined>>;

/**
 * Answers GET or HEAD with an object, whatever permission led to it. Of one that shows an image, `Accept` chooses the
 * file, the guest's bytes or the list of its blocks, and `gantry-disk-digest` tells what the guest sees. `dialect` is
 * what a dialect says of the object in headers of its own, over ours.
 */
export async function sendObject(
  request: FastifyRequest,
  reply: FastifyReply,
  objects: Objects,
  place: ObjectPlace,
  dialect: (object: StoredObject) => Headers = () => ({}),
): Promise<FastifyReply> {
  const wanted = wantedForm(request);
  if (request.method === 'HEAD' && wanted === 'file') {
    const object = await objects.get(place);
    const digest = await objects.diskDigest(object);
    return sendHead(request, reply, object.lengthBytes, representationOf(object, digest, dialect(object)));
  }
  const { object, form, source, etag } = await objects.open(place, wanted);
  try {
    const digest = await objects.diskDigest(object);
    const file = representationOf(object, digest, dialect(object));
    if (form === 'file') return await sendSource(request, reply, source, file);
    return await sendSource(request, reply, source, {
      etag,
      lastModifiedMs: object.createdAtMs,
      contentType: typeOfForm[form],
      // What describes the file's bytes does not describe these.
      headers: { [DISK_DIGEST_HEADER]: digest, vary: 'accept' },
    });
  } finally {
    // Closed already, unless it came to no answer.
    await source.close();
  }
}

/** The first of our types in `Accept`; the file for everything else. */
function wantedForm(request: FastifyRequest): ObjectForm {
  const accepted = (request.headers.accept ?? '').split(',').map((range) => range.split(';')[0]?.trim());
  for (const type of accepted) {
    if (type === typeOfForm.raw) return 'raw';
    if (type === typeOfForm.blocks) return 'blocks';
  }
  return 'file';
}

function representationOf(
  object: StoredObject,
  diskDigest: string | undefined,
  dialect: Headers,
): Representation {
  const { contentLanguage, contentEncoding, contentDisposition, cacheControl } = object.attributes;
  return {
    etag: object.etag,
    lastModifiedMs: object.createdAtMs,
    contentType: object.contentType,
    headers: {
      'content-language': contentLanguage,
      'content-encoding': contentEncoding,
      'content-disposition': contentDisposition,
      'cache-control': cacheControl,
      [DISK_DIGEST_HEADER]: diskDigest,
      ...(object.view !== undefined && { vary: 'accept' }),
      ...dialect,
    },
  };
}
