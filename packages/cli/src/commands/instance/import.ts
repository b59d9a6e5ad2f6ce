import { join, relative } from 'node:path';
import {
  type ImportOutcome,
  type ImportPlan,
  type ImportTools,
  type ImportWish,
  importInstance,
  planInstanceImport,
  resumeInstanceImport,
} from '@gantry/cloud';
import { ociPlace } from '../../client/oci-place.ts';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable, shellWord } from '../../output/printable.ts';
import { exactSizeText, sizeText } from '../../output/quantities.ts';
import { leftoverLines } from '../image/leftovers.ts';

interface ImportOptions {
  readonly bucket?: string;
  readonly name?: string;
  readonly to?: string;
  readonly keep?: boolean;
  readonly dryRun?: boolean;
  readonly resume?: string;
  readonly endpoint?: string;
  readonly configFile?: string;
  readonly parallel: number;
}

export async function run(
  context: Context,
  [source]: readonly [string | undefined],
  options: ImportOptions,
): Promise<ExitCode> {
  const tools: ImportTools = {
    environment: context.environment,
    signal: context.signal,
    parallel: options.parallel,
    onProgress: context.progress.step,
    note: (text) => context.progress.note(text),
  };
  if (options.resume !== undefined) {
    if (source !== undefined) throw usageError('a journal knows its instance', 'leave the source away');
    return finish(context, await resumeInstanceImport(options.resume, tools));
  }
  const wish = wishOf(source, options);
  if (options.dryRun === true) {
    await showPlan(context, await planInstanceImport(wish, tools), wish);
    return EXIT.ok;
  }
  return finish(context, await importInstance(wish, tools));
}

function wishOf(source: string | undefined, options: ImportOptions): ImportWish {
  const { bucket, name, to, keep, endpoint, configFile } = options;
  if (source === undefined)
    throw usageError(
      'say which instance to import',
      'write oci://PROFILE/INSTANCE_OCID, or --resume JOURNAL',
    );
  const { profile, name: instanceId } = ociPlace(source, 'instance');
  if (bucket === undefined)
    throw usageError('say which bucket the archive goes through', 'name one of your own with --bucket');
  return { profile, instanceId, bucket, name, folder: to, keep: keep ?? false, endpoint, configFile };
}

async function showPlan(context: Context, plan: ImportPlan, { keep }: ImportWish): Promise<void> {
  const { instance, request, folder, freeBytes, mostBytes } = plan;
  const { name, shape, lifecycleState, cpuCount, memoryBytes, bootVolumeBytes, operatingSystem, firmware } =
    instance;
  const system = [operatingSystem, instance.operatingSystemVersion].filter(Boolean).join(' ') || 'not known';
  const hardware = [
    cpuCount === undefined ? undefined : `${cpuCount} CPUs`,
    memoryBytes === undefined ? undefined : `${sizeText(memoryBytes)} of memory`,
    firmware,
  ].filter((part) => part !== undefined);
  const disk = join(relative('.', folder) || '.', `${request.baseName}.vmdk`);
  const steps = [
    `make a custom image of ${name} in its compartment; OCI may pause the instance for that`,
    `export it as an archive into the bucket ${request.bucket} of ${request.namespace}: at most ${sizeText(bootVolumeBytes)}`,
    `download it in ranges and write ${disk} meanwhile: at most ${exactSizeText(mostBytes)}`,
    `read the disk back, and write the machine ${request.name} for VirtualBox beside it; it is not started`,
    keep ? 'leave the image and the archive in the cloud' : 'remove the archive and the image from the cloud',
  ];
  await context.output.record(
    { instance: { ...instance }, ...request, folder, freeBytes, mostBytes, steps },
    [
      `${printable(name)}: ${lifecycleState}, ${shape} (${hardware.join(', ')}), ${printable(system)}`,
      `boot volume: ${exactSizeText(bootVolumeBytes)}; free in ${printable(folder)}: ${sizeText(freeBytes)}`,
      ...steps.map((step, index) => `${index + 1}. would ${printable(step)}`),
    ],
  );
}

async function finish(context: Context, outcome: ImportOutcome): Promise<ExitCode> {
  const { folder, journalPath, state, wasFinished } = outcome;
  context.progress.end();
  const { written, files = [], leftovers = [], request } = state;
  const record = {
    folder,
    disk: join(folder, `${request.baseName}.vmdk`),
    files: files.map((name) => join(folder, name)),
    journal: journalPath,
    virtualSizeBytes: written?.virtualSizeBytes ?? null,
    lengthBytes: written?.lengthBytes ?? null,
    uuid: written?.uuid ?? null,
    diskDigest: written?.digest ?? null,
    proof: written?.proof ?? null,
    wasFinished,
    leftovers: leftovers.map((leftover) => ({ ...leftover })),
  };
  const proof =
    written?.proof === 'service'
      ? 'read back, it has the disk digest that the service keeps'
      : 'read back, it has the disk digest of what was downloaded';
  await context.output.record(record, [
    ...(wasFinished ? [`this import was finished at ${state.finishedAt}; nothing was done now`] : []),
    `wrote ${printable(record.disk)}: ${exactSizeText(written?.lengthBytes ?? 0)}`,
    `verified: ${proof}, ${written?.digest}`,
    ...files.map((name) => `wrote ${printable(join(folder, name))}`),
    ...startLines(folder, files),
    ...leftoverLines(leftovers),
  ]);
  return leftovers.length === 0 ? EXIT.ok : EXIT.findings;
}

function startLines(folder: string, files: readonly string[]): string[] {
  const settings = files.find((name) => name.endsWith('.vbox'));
  const script = files.find((name) => name.endsWith('.sh'));
  const ways = [
    settings && `VBoxManage registervm ${shellWord(join(folder, settings))}`,
    script && `sh ${shellWord(join(folder, script))}`,
  ].filter(Boolean);
  return ways.length === 0 ? [] : [`put it into VirtualBox with: ${ways.join(', or ')}`];
}
