import { diskMap } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';

/** Width of 2^53 in digits. */
const NUMBER_WIDTH = 16;

interface Line {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: string;
  readonly compressed: boolean;
  readonly [key: string]: string | number | boolean;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ImageFilesOptions & { readonly from?: string },
): Promise<undefined> {
  const files = new ImageFiles(options, context.signal);
  try {
    const { disk } = await files.open(file, selectedBy(options));
    const lines = async function* (): AsyncGenerator<Line, void, undefined> {
      for await (const { offsetBytes, lengthBytes, kind, compressed } of diskMap(disk, context.signal)) {
        yield { offsetBytes, lengthBytes, kind, compressed: compressed ?? false };
      }
    };
    const heading = `${'OFFSET'.padStart(NUMBER_WIDTH)}  ${'LENGTH'.padStart(NUMBER_WIDTH)}  KIND`;
    await context.output.stream(lines(), heading, lineText);
  } finally {
    await files.close();
  }
}

function lineText({ offsetBytes, lengthBytes, kind, compressed }: Line): string {
  const numbers = [offsetBytes, lengthBytes].map((value) => String(value).padStart(NUMBER_WIDTH));
  return `${numbers.join('  ')}  ${kind}${compressed ? ' (compressed)' : ''}`;
}
