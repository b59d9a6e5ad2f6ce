import { DomainError } from './errors.ts';

/** A size of machine that instances may have: fixed, or within ranges (`…Flex`). */
export interface Shape {
  readonly name: string;
  readonly architecture: 'x86_64' | 'aarch64';
  /** Of a flexible shape: by default. An OCPU is a core: two threads on x86_64, one on aarch64. */
  readonly ocpus: number;
  readonly memoryInGBs: number;
  /** Absent for a fixed shape. */
  readonly flexible?: {
    readonly ocpusMax: number;
    readonly memoryMaxInGBs: number;
    readonly memoryPerOcpuMaxInGBs: number;
  };
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

/** Throws INVALID for a name that is none here. */
export function requireShape(shapes: readonly Shape[], name: string): Shape {
  const shape = shapes.find((each) => each.name === name);
  if (shape !== undefined) return shape;
  throw new DomainError('INVALID', `there is no shape ${JSON.stringify(name)}`, {
    hint: `it is one of ${shapes.map((each) => each.name).join(', ')}`,
  });
}

/** What an instance gets of a shape. Throws INVALID for more than it has, and for choices that a fixed one gives not. */
export function shapeConfigOf(
  shape: Shape,
  asked: { readonly ocpus?: number | undefined; readonly memoryInGBs?: number | undefined },
): ShapeConfig {
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
