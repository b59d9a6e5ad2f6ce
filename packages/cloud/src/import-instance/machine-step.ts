import { chmod } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileSink, ImageError } from '@gantry/disk';
import {
  completeMachine,
  type Firmware,
  type Machine,
  readOciMetadata,
  writeVBoxManageScript,
  writeVirtualBoxSettings,
} from '@gantry/machine';
import { diskName } from './disk-step.ts';
import type { ImportRun } from './run.ts';
import type { ImportState, WrittenDisk } from './state.ts';

/**
 * Writes the machine for VirtualBox: a settings file, whose registry has the UUID that stands in the disk, and a script
 * that makes the same machine with VBoxManage. Nothing is registered or started.
 */
export async function writeMachineFiles(run: ImportRun): Promise<void> {
  const { journal, folder, meter } = run;
  const { files, written, request } = journal.state;
  if (files !== undefined || written === undefined) return;
  meter.part('write machine', 0);
  const machine = machineOf(journal.state, written);
  const names: string[] = [];
  try {
    const settings = writeVirtualBoxSettings(machine);
    for (const { field, why } of settings.losses) {
      // The system is but a choice of VirtualBox's defaults.
      if (!field.startsWith('guestOs')) run.note(`VirtualBox is not told ${field}: ${why}`);
    }
    names.push(`${request.baseName}.vbox`);
    await writeText(join(folder, `${request.baseName}.vbox`), settings.text);
  } catch (error) {
    // Arm machines: VBoxManage makes them, and their settings cannot be written by hand.
    if (!(error instanceof ImageError) || error.code !== 'IMAGE_UNSUPPORTED') throw error;
    run.note(`no settings file is written: ${error.message}`);
  }
  const script = `${request.baseName}-create.sh`;
  const disks = machine.disks.map((disk) => ({ ...disk, path: resolve(folder, disk.path ?? '') }));
  await writeText(join(folder, script), writeVBoxManageScript({ ...machine, disks }).text);
  await chmod(join(folder, script), 0o755);
  names.push(script);
  await journal.save({ files: names });
  meter.part('write machine', 1);
}

/** What the archive's document says, and over it what the instance really had. */
function machineOf(state: ImportState, written: WrittenDisk): Machine {
  const { instance, request, metadata = '{}' } = state;
  const { facts } = readOciMetadata(metadata);
  const firmware = firmwareNamed(instance.firmware) ?? facts.firmware;
  const { operatingSystem, operatingSystemVersion, cpuCount, memoryBytes } = instance;
  const guestOs =
    operatingSystem === undefined
      ? facts.guestOs
      : { name: operatingSystem, ...(operatingSystemVersion && { version: operatingSystemVersion }) };
  return completeMachine({
    name: request.name,
    uuid: crypto.randomUUID(),
    description: `Imported from the OCI instance ${instance.id} (${instance.name}, ${instance.shape})`,
    architecture: instance.architecture,
    // Arm has no other.
    firmware: instance.architecture === 'aarch64' ? 'uefi' : (firmware ?? 'bios'),
    clock: 'utc',
    ...(cpuCount !== undefined && { cpuCount }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(guestOs !== undefined && { guestOs }),
    disks: [
      {
        role: 'system',
        device: 'disk',
        path: diskName(state),
        format: 'vmdk',
        virtualSizeBytes: written.virtualSizeBytes,
        bus: 'sata',
        bootOrder: 1,
        uuid: written.uuid,
      },
    ],
    nics: [{ network: 'nat' }],
  });
}

function firmwareNamed(word: string | undefined): Firmware | undefined {
  if (word === 'UEFI_64') return 'uefi';
  return word === 'BIOS' ? 'bios' : undefined;
}

async function writeText(path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  const sink = await fileSink(path);
  try {
    await sink.write(0, bytes);
    await sink.finish(bytes.length);
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
