import { compareDisks } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';

export async function run(
  context: Context,
  [a, b]: readonly [string, string],
  options: ImageFilesOptions & {
    readonly from?: string;
    readonly fromB?: string;
    readonly snapshotB?: string;
    readonly memberB?: string;
  },
): Promise<ExitCode> {
  const files = new ImageFiles(options, context.signal);
  try {
    const left = await files.open(a, selectedBy(options));
    const right = await files.open(b, {
      format: options.fromB,
      snapshot: options.snapshotB,
      member: options.memberB,
    });
    const { signal, progress } = context;
    const result = await compareDisks(left.disk, right.disk, { signal, onProgress: progress.step });
    await files.requireUnchanged();
    progress.end();
    const sizes = [left.disk.virtualSizeBytes, right.disk.virtualSizeBytes] as const;
    const record = { ...result, a, b, aVirtualSizeBytes: sizes[0], bVirtualSizeBytes: sizes[1] };
    const lines = [
      result.equal
        ? `the same disk: ${printable(a)} and ${printable(b)}`
        : `different: ${printable(a)} and ${printable(b)}, first at byte ${result.firstDifferenceBytes}`,
    ];
    if (result.sizesDiffer) {
      lines.push(
        `note: the virtual sizes differ, ${sizes[0]} and ${sizes[1]} bytes; the shorter disk counts as zero there`,
      );
    }
    await context.output.record(record, lines);
    return result.equal ? EXIT.ok : EXIT.findings;
  } finally {
    await files.close();
  }
}
