import type { OciDocument } from '@gantry/disk';
import {
  type ImageCapabilities,
  type JsonObject,
  type MachineFacts,
  readOciMetadata,
  type ShapeCompatibility,
  writeOciMetadata,
} from '@gantry/machine';
import { findSchemaOfImage } from '../db/repositories/image-capability-schemas.ts';
import { listImageShapes } from '../db/repositories/image-shapes.ts';
import type { ImageCapabilitySchemaRow, ImageShapeRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import type { JsonValue } from '../json.ts';
import type { Image } from './image.ts';
import type { ViewSpec } from './view-spec.ts';

/** What the document of an `.oci` archive says, as the details of its disk hold it; undefined when there is none. */
export function archivedFacts(
  details: unknown,
  warn: (text: string) => void = () => {},
): MachineFacts | undefined {
  const { metadata } = (details ?? {}) as { metadata?: OciDocument };
  if (typeof metadata !== 'object' || metadata === null) return undefined;
  const { facts, warnings } = readOciMetadata(metadata);
  for (const warning of warnings) warn(warning);
  return facts;
}

/** The rows for the shapes that a document names, the first of a name. */
export function shapeRows(
  imageId: string,
  shapes: readonly ShapeCompatibility[] | undefined,
): ImageShapeRow[] {
  const rows = new Map<string, ImageShapeRow>();
  for (const { shape, ocpuConstraints, memoryConstraints } of shapes ?? []) {
    if (rows.has(shape)) continue;
    rows.set(shape, {
      image_id: imageId,
      shape,
      ocpu_json: ocpuConstraints === undefined ? null : JSON.stringify(ocpuConstraints),
      memory_json: memoryConstraints === undefined ? null : JSON.stringify(memoryConstraints),
    });
  }
  return [...rows.values()];
}

/** An `.oci` archive says what is known of its image, unless it was said how it shall be. Throws ImageError. */
export async function archiveView(queries: Queries, image: Image, view: ViewSpec): Promise<ViewSpec> {
  if (view.format !== 'oci' || Object.keys(view.options).length > 0) return view;
  const shapes = await listImageShapes(queries, image.id);
  const schema = await findSchemaOfImage(queries, image.id);
  const capabilities = schema === undefined ? image.capabilities : capabilitiesOf(schema);
  return { ...view, options: { metadata: metadataText(image, shapes, capabilities) } };
}

/** What was said of an image's capabilities since it is here, as an archive says it. */
function capabilitiesOf(schema: ImageCapabilitySchemaRow): ImageCapabilities {
  const descriptors: Record<string, JsonObject> = JSON.parse(schema.schema_json);
  const capabilities = Object.fromEntries(
    Object.entries(descriptors).map(([name, { source: _, ...descriptor }]) => [name, descriptor]),
  );
  return { formatVersion: schema.global_version_name, capabilities };
}

/** The document that the image was imported with, with what was changed since. */
function metadataText(
  image: Image,
  shapes: readonly ImageShapeRow[],
  capabilities: ImageCapabilities | undefined,
): string {
  const { shapeCompatibilities: archivedShapes = [], foreign } =
    archivedFacts(image.content?.details as JsonValue) ?? {};
  const { operatingSystem: name, operatingSystemVersion: version, launchOptions = {}, launchMode } = image;
  const facts: MachineFacts = {
    guestOs: { name: name === '' ? 'Custom' : name, version: version === '' ? 'Custom' : version },
    launchOptions: launchMode === undefined ? launchOptions : { ...launchOptions, launchMode },
    shapeCompatibilities: inOrder(shapes, archivedShapes).map((row) => shapeOf(row, archivedShapes)),
    ...(capabilities && { imageCapabilities: capabilities }),
    ...(foreign && { foreign }),
  };
  return writeOciMetadata(withFirmware(facts)).text;
}

/** What the document says twice is said once in the model, and has to agree. */
function withFirmware(facts: MachineFacts): MachineFacts {
  const firmware = facts.launchOptions?.firmware;
  if (firmware === 'BIOS') return { ...facts, firmware: 'bios' };
  return firmware === 'UEFI_64' ? { ...facts, firmware: 'uefi' } : facts;
}

/** As the archive had them, and behind these what was added since. */
function inOrder(
  rows: readonly ImageShapeRow[],
  archived: readonly ShapeCompatibility[],
): readonly ImageShapeRow[] {
  const places = new Map(archived.map(({ shape }, place) => [shape, place]));
  const place = (row: ImageShapeRow) => places.get(row.shape) ?? archived.length;
  return rows.toSorted((a, b) => place(a) - place(b));
}

/** With what the archive said of the shape besides. */
function shapeOf(row: ImageShapeRow, archived: readonly ShapeCompatibility[]): ShapeCompatibility {
  const { shape, ocpu_json, memory_json } = row;
  const { foreign } = archived.find((each) => each.shape === shape) ?? {};
  return {
    shape,
    ...(ocpu_json !== null && { ocpuConstraints: JSON.parse(ocpu_json) }),
    ...(memory_json !== null && { memoryConstraints: JSON.parse(memory_json) }),
    ...(foreign && { foreign }),
  };
}
