import { z } from 'zod';
import { DomainError } from './errors.ts';

const count = z.number().positive();
const shape = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,255}$/),
  architecture: z.enum(['x86_64', 'aarch64']),
  /** Of a flexible shape: by default. An OCPU is a core: two threads on x86_64, one on aarch64. */
  ocpus: count,
  memoryInGBs: count,
  /** Absent for a fixed shape. */
  flexible: z
    .strictObject({ ocpusMax: count, memoryMaxInGBs: count, memoryPerOcpuMaxInGBs: count })
    .optional(),
});
/** A size of machine that instances may have: fixed, or within ranges (`…Flex`). */
export type Shape = z.infer<typeof shape>;

/** Reads the operator's list of shapes, a JSON array. Throws INVALID. */
export function parseShapes(text: string): readonly Shape[] {
  const hint = 'write [{"name": "small", "architecture": "x86_64", "ocpus": 1, "memoryInGBs": 2}]';
  try {
    const shapes = z.array(shape).min(1).safeParse(JSON.parse(text));
    if (shapes.success) return shapes.data;
    throw new DomainError('INVALID', `the list of shapes cannot be: ${z.prettifyError(shapes.error)}`, {
      hint,
    });
  } catch (error) {
    if (error instanceof DomainError) throw error;
    throw new DomainError('INVALID', 'the list of shapes is no JSON', { hint });
  }
}

function flexible(
  name: string,
  architecture: Shape['architecture'],
  ocpusMax: number,
  memoryMaxInGBs: number,
): Shape {
  const limits = { ocpusMax, memoryMaxInGBs, memoryPerOcpuMaxInGBs: 64 };
  return { name, architecture, ocpus: 1, memoryInGBs: 16, flexible: limits };
}

function fixed(name: string, ocpus: number, memoryInGBs: number): Shape {
  return { name, architecture: 'x86_64', ocpus, memoryInGBs };
}

/** Shapes of virtual machines under the names of OCI, so that its clients find what they ask for. */
export const knownShapes: readonly Shape[] = [
  flexible('VM.Standard.E6.Flex', 'x86_64', 126, 1454),
  flexible('VM.Standard.E5.Flex', 'x86_64', 94, 1049),
  flexible('VM.Standard.E4.Flex', 'x86_64', 64, 1024),
  flexible('VM.Standard.E3.Flex', 'x86_64', 64, 1024),
  flexible('VM.Standard3.Flex', 'x86_64', 32, 512),
  flexible('VM.Optimized3.Flex', 'x86_64', 18, 256),
  flexible('VM.Standard.A1.Flex', 'aarch64', 80, 512),
  flexible('VM.Standard.A2.Flex', 'aarch64', 78, 946),
  fixed('VM.Standard.E2.1.Micro', 1, 1),
  fixed('VM.Standard2.1', 1, 15),
  fixed('VM.Standard2.2', 2, 30),
  fixed('VM.Standard2.4', 4, 60),
  fixed('VM.Standard2.8', 8, 120),
  fixed('VM.Standard2.16', 16, 240),
  fixed('VM.Standard2.24', 24, 320),
];

/** What of a shape an instance takes. */
export interface ShapeConfig {
  readonly ocpus: number;
  readonly memoryInGBs: number;
}

/** The same as somebody asks for it; what is left open is by the shape. */
export interface ShapeRequest {
  readonly ocpus?: number | undefined;
  readonly memoryInGBs?: number | undefined;
}

/** Throws INVALID for a name that is none here. */
export function requireShape(shapes: readonly Shape[], name: string): Shape {
  const shape = shapes.find((each) => each.name === name);
  if (shape !== undefined) return shape;
  throw new DomainError('INVALID', `there is no shape ${JSON.stringify(name)}`, {
    hint: `it is one of ${shapes.map((each) => each.name).join(', ')}`,
  });
}

/** What an instance gets of a shape. Throws INVALID for more than it has, and for choices that a fixed one gives not. */
export function shapeConfigOf(shape: Shape, asked: ShapeRequest): ShapeConfig {
  const { ocpus = shape.ocpus } = asked;
  const isChosen = asked.ocpus !== undefined || asked.memoryInGBs !== undefined;
  if (shape.flexible === undefined) {
    const { ocpus: own, memoryInGBs } = shape;
    const isSame = ocpus === own && (asked.memoryInGBs ?? memoryInGBs) === memoryInGBs;
    if (isChosen && !isSame) throw invalid(`${shape.name} has ${own} OCPUs and ${memoryInGBs} GB, always`);
    return { ocpus: own, memoryInGBs };
  }
  const { ocpusMax, memoryMaxInGBs, memoryPerOcpuMaxInGBs } = shape.flexible;
  const memoryInGBs = asked.memoryInGBs ?? Math.min(memoryMaxInGBs, ocpus * shape.memoryInGBs);
  if (!(ocpus >= 1 && ocpus <= ocpusMax)) throw invalid(`${shape.name} has 1 to ${ocpusMax} OCPUs`);
  const most = Math.min(memoryMaxInGBs, ocpus * memoryPerOcpuMaxInGBs);
  if (!(memoryInGBs >= 1 && memoryInGBs <= most))
    throw invalid(`${shape.name} with ${ocpus} OCPUs has 1 to ${most} GB of memory`);
  return { ocpus, memoryInGBs };
}

function invalid(message: string): DomainError {
  return new DomainError('INVALID', message);
}
