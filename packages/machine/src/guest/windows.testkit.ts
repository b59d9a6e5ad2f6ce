import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { peer, type Tree } from './images.testkit.ts';
import { emptyHive, grubEfi } from './machines.testkit.ts';

export interface WindowsWishes {
  readonly product?: string;
  readonly build?: string;
  /** Start types by the driver's name; each has its file too. */
  readonly drivers?: Readonly<Record<string, number>>;
  readonly universal?: number;
  /** The machine's registry, instead of one with the above. */
  readonly system?: Uint8Array;
  readonly files?: Tree;
  readonly libraryCount?: number;
  readonly serviceCount?: number;
}

/** A hive that hivexsh filled: a line of commands each. */
export async function hive(folder: string, name: string, commands: readonly string[]): Promise<Uint8Array> {
  const file = join(folder, `${name}-${commands.length}.hive`);
  await writeFile(file, emptyHive());
  await peer('hivexsh', ['-w', file], `${commands.join('\n')}\ncommit\n`);
  return new Uint8Array(await readFile(file));
}

/** What makes an empty hive one of a machine, with these values for its clock: names and values of hivexsh. */
export function clockCommands(values: readonly string[]): string[] {
  return [
    'add Select',
    'add ControlSet002',
    'cd Select',
    'setval 1\nCurrent\ndword:2',
    'cd \\ControlSet002',
    'add Control',
    'cd Control',
    'add TimeZoneInformation',
    'cd TimeZoneInformation',
    ...(values.length === 0 ? [] : [`setval ${values.length}`, ...values]),
  ];
}

/** The system drive of a Windows, as far as it is looked at; its registry made by hivexsh. */
export async function windowsTree(folder: string, wishes: WindowsWishes = {}): Promise<Tree> {
  const {
    product = 'Windows Server 2022 Standard',
    build = '20348',
    drivers = {},
    universal,
    libraryCount = 700,
    serviceCount = 1500,
  } = wishes;
  const software = await hive(folder, 'software', [
    ...['Microsoft', 'Windows NT', 'CurrentVersion'].flatMap((key) => [`add ${key}`, `cd ${key}`]),
    `setval 3\nProductName\nstring:${product}\nCurrentBuild\nstring:${build}\nInstallationType\nstring:Server`,
  ]);
  // More services than one list of keys takes, so that there is a list of lists.
  const services = Object.entries({
    ...Object.fromEntries(Array.from({ length: serviceCount }, (_, i) => [`service${i}`, 3])),
    ...drivers,
  });
  const filled = await hive(folder, `system-${universal}`, [
    ...clockCommands(universal === undefined ? [] : [`RealTimeIsUniversal\ndword:${universal}`]),
    'cd \\ControlSet002',
    'add Services',
    ...services.flatMap(([name, start]) => [
      'cd \\ControlSet002\\Services',
      `add ${name}`,
      `cd ${name}`,
      `setval 1\nStart\ndword:${start}`,
    ]),
  ]);
  return {
    'Windows/System32/config/SOFTWARE': software,
    'Windows/System32/config/SYSTEM': wishes.system ?? filled,
    // Any program for x86-64 has the header that the kernel has.
    'Windows/System32/ntoskrnl.exe': await grubEfi(folder),
    ...Object.fromEntries(
      Object.keys(drivers).map((name) => [`Windows/System32/drivers/${name}.sys`, 'a driver']),
    ),
    ...Object.fromEntries(
      Array.from({ length: libraryCount }, (_, i) => [
        `Windows/System32/A rather long name of a library ${i}.dll`,
        `${i}`,
      ]),
    ),
    ...wishes.files,
  };
}
