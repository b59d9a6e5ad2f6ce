import { once } from 'node:events';
import { resolve } from 'node:path';
import { serve } from '@gantry/service';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { recordRunning, runningFolder } from '../../profile/running.ts';

interface ServeOptions {
  readonly data: string;
  readonly listen?: readonly string[];
  readonly logLevel: string;
  readonly allow?: readonly string[];
  readonly region: string;
  readonly peer?: readonly string[];
  readonly realmKey?: string;
  readonly imageSizeMax?: number;
  readonly shapes?: string;
  readonly hypervisor: 'qemu' | 'none';
  readonly instanceNetwork: string;
  readonly instanceCpus?: number;
  readonly instanceMemory?: number;
  readonly instanceDisk?: number;
  readonly instanceGrace?: number;
}

export async function run(context: Context, _args: readonly [], options: ServeOptions): Promise<ExitCode> {
  const { data, listen = [], logLevel, allow, region, peer, realmKey, imageSizeMax, shapes } = options;
  const dataFolder = resolve(data);
  const service = await serve({
    dataFolder,
    listen,
    logLevel,
    allowNetworks: allow ?? [],
    region,
    peers: peer ?? [],
    realmKeyFile: realmKey,
    imageSizeMaxBytes: imageSizeMax,
    shapesFile: shapes,
    hypervisor: options.hypervisor,
    instanceNetwork: options.instanceNetwork,
    instanceLimits: {
      cpuCount: options.instanceCpus,
      memoryBytes: options.instanceMemory,
      volumeBytes: options.instanceDisk,
    },
    instanceGraceMs: options.instanceGrace === undefined ? undefined : options.instanceGrace * 1000,
  });
  try {
    const { address, ociEndpoint, profilePath } = service;
    const forget = await announce(context, profilePath);
    const lines = announcement(address, ociEndpoint, dataFolder, profilePath);
    const record = { address, ociEndpoint, dataFolder, profile: profilePath, processId: process.pid };
    await context.output.record(record, lines);
    if (!context.signal.aborted) await once(context.signal, 'abort');
    await forget();
  } finally {
    await service.stop();
  }
  return EXIT.ok;
}

/** Lets the command find the service; it serves all the same where that cannot be written down. */
async function announce({ environment, progress }: Context, profile: string): Promise<() => Promise<void>> {
  try {
    return await recordRunning(runningFolder(environment), profile);
  } catch (error) {
    progress.note(`warning: the command will not find this service by itself: ${(error as Error).message}`);
    return async () => {};
  }
}

function announcement(address: string, ociEndpoint: string, dataFolder: string, profile: string): string[] {
  return [
    `Gantry answers at ${address}`,
    `  API:      ${address}/api/v1, described at ${address}/api/v1/docs`,
    `  OCI:      ${ociEndpoint} for SDKs and CLI of OCI; gantry oci setup makes a profile for them`,
    `  Data:     ${printable(dataFolder)}`,
    `  Profile:  ${printable(profile)} (address and token of the administrator; keep it to yourself)`,
    '  Command:  npx gantry image list, from this clone; from elsewhere add --profile with the file above',
    'Ctrl-C stops it; what is at work then goes on with the next start.',
  ];
}
