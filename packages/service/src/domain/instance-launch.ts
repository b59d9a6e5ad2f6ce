import type { LaunchOptions } from '@gantry/machine';
import type { Principal } from '../auth/tokens.ts';
import type { VolumeRow } from '../db/schema.ts';
import { wholeSectors } from '../machines/volume-disk.ts';
import { DomainError } from './errors.ts';
import { requireStored } from './image.ts';
import type { ImageShapes } from './image-shapes.ts';
import type { LaunchOptionsInput } from './launch-options.ts';
import { requireVirtualShape } from './launch-rules.ts';
import { requireShape, type Shape, type ShapeConfig, type ShapeRequest, shapeConfigOf } from './shapes.ts';
import type { Tags } from './tags.ts';
import { VOLUME_BYTES_MAX, type Volumes } from './volumes.ts';

/** What an instance shall start from. */
export type LaunchSource =
  | {
      readonly kind: 'image';
      readonly imageId: string;
      /** By default the image's own size, and no less than the next. */
      readonly bootVolumeBytes?: number | undefined;
      readonly bootVolumeBytesMin?: number | undefined;
    }
  | { readonly kind: 'bootVolume'; readonly volumeId: string };

export interface LaunchRequest {
  readonly compartmentId: string;
  readonly availabilityDomain: string;
  readonly name?: string | undefined;
  readonly shape?: string | undefined;
  readonly shapeConfig?: ShapeRequest | undefined;
  readonly source: LaunchSource;
  /** Over those of the image. */
  readonly launchOptions?: LaunchOptionsInput | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags?: Partial<Tags> | undefined;
  /** Copies the whole disk before it is started, instead of meanwhile. */
  readonly materialize?: boolean | undefined;
}

/** What a launch comes to. */
export interface LaunchPlan {
  readonly shape: Shape;
  readonly shapeConfig: ShapeConfig;
  readonly imageId: string | undefined;
  readonly launchOptions: LaunchOptions | undefined;
  /** The boot volume that is there; or what a new one has. */
  readonly volume: VolumeRow | undefined;
  readonly manifestId: string | null;
  readonly sizeBytes: number;
}

interface LaunchParts {
  readonly volumes: Volumes;
  readonly imageShapes: ImageShapes;
  readonly shapes: readonly Shape[];
}

/** Of a flexible shape that nobody chose. */
const MODEST: ShapeConfig = { ocpus: 1, memoryInGBs: 2 };

/** Throws NOT_FOUND, FORBIDDEN, CONFLICT for an image that is not there yet, INVALID for a shape that does not go. */
export async function planLaunch(
  parts: LaunchParts,
  principal: Principal,
  request: LaunchRequest,
): Promise<LaunchPlan> {
  const [first] = parts.shapes;
  const shape = requireShape(parts.shapes, request.shape ?? first?.name ?? '');
  const isModest = request.shape === undefined && shape.flexible !== undefined;
  const shapeConfig = shapeConfigOf(shape, { ...(isModest && MODEST), ...request.shapeConfig });
  const from = await startOf(parts, principal, request);
  if (from.imageId !== undefined) await parts.imageShapes.requireFits(from.imageId, shape.name);
  requireVirtualShape(shape.name, from.isImported);
  const { launchOptions } = request;
  return {
    ...from,
    shape,
    shapeConfig,
    launchOptions:
      launchOptions === undefined
        ? from.launchOptions
        : { ...from.launchOptions, ...(launchOptions as LaunchOptions), launchMode: 'CUSTOM' },
  };
}

type Start = Omit<LaunchPlan, 'shape' | 'shapeConfig'> & { readonly isImported: boolean };

async function startOf(
  { volumes, imageShapes }: LaunchParts,
  principal: Principal,
  { source }: LaunchRequest,
): Promise<Start> {
  const { images } = imageShapes;
  if (source.kind === 'bootVolume') {
    const volume = await volumes.requireFree(principal, source.volumeId);
    const image = await imageShapes.imageOf(principal.tenancyId, volume.image_id);
    return {
      imageId: volume.image_id ?? undefined,
      launchOptions: image?.launchOptions,
      volume,
      manifestId: volume.manifest_id,
      sizeBytes: volume.size_bytes,
      isImported: image?.source !== undefined,
    };
  }
  const image = requireStored(await images.get(principal, source.imageId, 'read'));
  const { manifestId, virtualSizeBytes } = image.content;
  const least = Math.max(virtualSizeBytes, source.bootVolumeBytesMin ?? 0);
  const sizeBytes = wholeSectors(source.bootVolumeBytes ?? least);
  if (sizeBytes < virtualSizeBytes) {
    throw new DomainError('INVALID', `a boot volume of ${sizeBytes} bytes is too small for this image`, {
      hint: `it needs ${virtualSizeBytes}`,
    });
  }
  if (sizeBytes > Math.max(VOLUME_BYTES_MAX, virtualSizeBytes)) {
    throw new DomainError('INVALID', `a boot volume of ${sizeBytes} bytes is not made`, {
      hint: `it has at most ${VOLUME_BYTES_MAX}`,
    });
  }
  const { launchOptions, id: imageId } = image;
  const isImported = image.source !== undefined;
  return { imageId, launchOptions, volume: undefined, manifestId, sizeBytes, isImported };
}
