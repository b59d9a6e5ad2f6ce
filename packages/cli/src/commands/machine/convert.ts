import { fileSink } from '@gantry/disk';
import {
  completeMachine,
  type Machine,
  readLibvirtDomain,
  readVirtImage,
  readVirtImageMachine,
  virtImageFacts,
  type WrittenDescriptor,
  writeLibvirtDomain,
  writeVBoxManageScript,
  writeVirtImage,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { targetPath } from '../../output/target-file.ts';
import { writeAll } from '../../output/write.ts';
import { kindOf, readDescriptor } from './load.ts';
import { noteLosses } from './losses.ts';

interface ConvertOptions {
  readonly to: 'virt-image' | 'libvirt' | 'virtualbox';
  readonly boot?: number;
}

const writers: Readonly<Record<ConvertOptions['to'], (machine: Machine) => WrittenDescriptor>> = {
  'virt-image': writeVirtImage,
  libvirt: writeLibvirtDomain,
  virtualbox: writeVBoxManageScript,
};

export async function run(
  context: Context,
  [file, target]: readonly [string, string],
  { to, boot }: ConvertOptions,
): Promise<undefined> {
  const bytes = await readDescriptor(file);
  const { facts, warnings } = read(bytes, file, boot);
  for (const warning of warnings) context.progress.note(`warning: ${warning}`);
  const { text, losses } = writers[to](completeMachine(facts));
  noteLosses(context, losses, to);
  if (target === '-') {
    await writeAll(process.stdout, text);
    return;
  }
  const sink = await fileSink(await targetPath(target, [file]));
  const written = new TextEncoder().encode(text);
  try {
    await sink.write(0, written);
    await sink.finish(written.length);
  } catch (error) {
    await sink.abort().catch(() => {});
    throw error;
  }
  const record = { target, kind: to, losses: losses.map((loss) => ({ ...loss })) };
  await context.output.record(record, [`wrote ${printable(target)} as ${to}`]);
}

function read(
  bytes: Uint8Array,
  file: string,
  boot: number | undefined,
): ReturnType<typeof readLibvirtDomain> {
  if (kindOf(bytes) === 'libvirt') {
    if (boot === undefined) return readLibvirtDomain(bytes, file);
    throw usageError('--boot is for virt-image descriptors', 'leave it away: a domain says one machine');
  }
  if (boot === undefined) return readVirtImageMachine(bytes, file);
  const { image, warnings } = readVirtImage(bytes, file);
  return { facts: virtImageFacts(image, { bootIndex: boot, file }), warnings };
}
