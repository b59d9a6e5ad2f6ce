/**
 * Answers as VBoxManage 7.0 does, by a table of its verbs and options (its manual, chapter 8), and keeps what machines
 * are in a file: `node vboxmanage.testkit.ts STATE-FILE VERB …`. No guest runs. A word that the table lacks is an error.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';

interface Controller {
  readonly name: string;
  portCount: number;
  readonly media: Record<string, string>;
}

interface Vm {
  readonly uuid: string;
  readonly config: string;
  state: string;
  controllers: Controller[];
  settings: Record<string, string>;
}

/** Options with the number of words that follow each. `N` stands for a number from 1. */
const grammar: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  createvm: { '--name': 1, '--ostype': 1, '--uuid': 1, '--basefolder': 1, '--register': 0 },
  modifyvm: {
    ...{ '--description': 1, '--cpus': 1, '--memory': 1, '--vram': 1, '--firmware': 1, '--ioapic': 1 },
    ...{ '--rtcuseutc': 1, '--bootN': 1, '--nicN': 1, '--nictypeN': 1, '--macaddressN': 1 },
    ...{ '--cableconnectedN': 1, '--bridgeadapterN': 1, '--nat-networkN': 1, '--intnetN': 1 },
    ...{ '--uartN': 2, '--uartmodeN': 2 },
  },
  storagectl: {
    '--name': 1,
    '--add': 1,
    '--controller': 1,
    '--portcount': 1,
    '--bootable': 1,
    '--remove': 0,
  },
  storageattach: { '--storagectl': 1, '--port': 1, '--device': 1, '--type': 1, '--medium': 1 },
  showvminfo: { '--machinereadable': 0 },
  startvm: { '--type': 1 },
  unregistervm: {},
};
const controls: readonly string[] = [
  'acpipowerbutton',
  'pause',
  'poweroff',
  'reset',
  'resume',
  'screenshotpng',
];

const [stateFile = '', ...words] = process.argv.slice(2);
const vms: Record<string, Vm> = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')) : {};
const before: string = JSON.stringify(vms);

function fail(message: string): never {
  process.stderr.write(`VBoxManage: error: ${message}\n`);
  process.exit(1);
}

function parsed(verb: string, rest: readonly string[]): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (let at = 0; at < rest.length; ) {
    const word = rest[at] ?? '';
    const count = grammar[verb]?.[word] ?? grammar[verb]?.[word.replace(/[1-8]$/, 'N')];
    if (count === undefined) fail(`Invalid parameter '${word}'`);
    if (at + count >= rest.length) fail(`Missing value for ${word}`);
    found.set(word, rest.slice(at + 1, at + 1 + count));
    at += 1 + count;
  }
  return found;
}

function machine(name: string): Vm {
  const found = vms[name];
  return found ?? fail(`Could not find a registered machine named '${name}'`);
}

function requireUnlocked(name: string): Vm {
  const vm = machine(name);
  if (vm.state === 'running' || vm.state === 'paused')
    fail(`The machine '${name}' is already locked for a session (or being unlocked)`);
  return vm;
}

function create(options: Map<string, readonly string[]>): void {
  const value = (name: string) => options.get(name)?.[0] ?? fail(`Parameter ${name} is required`);
  const name = value('--name');
  const folder = join(value('--basefolder'), name);
  const config = join(folder, `${name}.vbox`);
  if (vms[name] !== undefined || existsSync(config)) fail(`Machine settings file '${config}' already exists`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(config, '<VirtualBox/>');
  vms[name] = {
    uuid: value('--uuid'),
    config,
    state: 'poweroff',
    controllers: [],
    settings: { ostype: value('--ostype') },
  };
}

function changeController(vm: Vm, options: Map<string, readonly string[]>): void {
  const name = options.get('--name')?.[0] ?? fail('Parameter --name is required');
  const known = vm.controllers.find((controller) => controller.name === name);
  if (options.has('--remove')) {
    if (known === undefined) fail(`Could not find a storage controller named '${name}'`);
    vm.controllers = vm.controllers.filter((controller) => controller !== known);
    return;
  }
  const portCount = Number(options.get('--portcount')?.[0] ?? 1);
  if (options.has('--add')) {
    if (known !== undefined) fail(`Storage controller named '${name}' already exists`);
    vm.controllers.push({ name, portCount, media: {} });
  } else if (known === undefined) fail(`Could not find a storage controller named '${name}'`);
  else known.portCount = portCount;
}

function attach(vm: Vm, options: Map<string, readonly string[]>): void {
  const value = (name: string) => options.get(name)?.[0] ?? fail(`Parameter ${name} is required`);
  const name = value('--storagectl');
  const controller =
    vm.controllers.find((known) => known.name === name) ??
    fail(`Could not find a controller named '${name}'`);
  const medium = value('--medium');
  if (Number(value('--port')) >= controller.portCount)
    fail('The port and/or device parameter are out of range');
  const place = `${value('--port')}-${value('--device')}`;
  if (medium === 'none') delete controller.media[place];
  else if (medium !== 'emptydrive' && !existsSync(medium))
    fail(`Could not find file for the medium '${medium}'`);
  else if (!['hdd', 'dvddrive', 'fdd'].includes(value('--type'))) fail('Invalid --type argument');
  else controller.media[place] = medium;
}

function describe(name: string, vm: Vm): string {
  const media = vm.controllers.flatMap((controller) =>
    Array.from({ length: controller.portCount }, (_, port) => {
      const medium = controller.media[`${port}-0`] ?? 'none';
      return [`"${controller.name}-${port}-0"="${medium}"`];
    }).flat(),
  );
  return [
    `name="${name}"`,
    `UUID="${vm.uuid}"`,
    `CfgFile="${vm.config}"`,
    `memory=${vm.settings['--memory']}`,
    ...vm.controllers.flatMap((controller, at) => [
      `storagecontrollername${at}="${controller.name}"`,
      `storagecontrollerportcount${at}="${controller.portCount}"`,
    ]),
    `VMState="${vm.state}"`,
    ...media,
    '',
  ].join('\n');
}

/** Words of `controlvm` and the states that they lead from and to. */
function control(name: string, [word = '', file]: readonly string[]): void {
  const vm = machine(name);
  if (!controls.includes(word)) fail(`Invalid parameter '${word}'`);
  if (vm.state !== 'running' && vm.state !== 'paused') fail(`Machine '${name}' is not currently running.`);
  if (word === 'pause' && vm.state === 'paused') fail('Invalid machine state: Paused');
  if (word === 'resume' && vm.state === 'running') fail('Cannot resume the machine as it is not paused');
  if (word === 'screenshotpng') {
    const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
    writeFileSync(file ?? fail('Missing filename'), Buffer.concat([Buffer.from(signature), deflateSync('')]));
  }
  // Its guest knows the button.
  const next: Readonly<Record<string, string>> = {
    pause: 'paused',
    resume: 'running',
    poweroff: 'poweroff',
    acpipowerbutton: 'poweroff',
  };
  vm.state = next[word] ?? vm.state;
}

function run([verb = '', name = '', ...rest]: readonly string[]): string {
  if (verb === '--version') return '7.0.20r163906\n';
  if (verb === 'list' && name === 'vms')
    return Object.entries(vms)
      .map(([known, { uuid }]) => `"${known}" {${uuid}}\n`)
      .join('');
  if (verb === 'createvm') {
    create(parsed(verb, [name, ...rest]));
    return `Virtual machine is created and registered.\n`;
  }
  if (verb === 'controlvm') control(name, rest);
  else if (grammar[verb] === undefined) fail(`Invalid command '${verb}'`);
  else {
    const options = parsed(verb, rest);
    if (verb === 'showvminfo') return describe(name, machine(name));
    const vm = requireUnlocked(name);
    if (verb === 'startvm') vm.state = 'running';
    else if (verb === 'storagectl') changeController(vm, options);
    else if (verb === 'storageattach') attach(vm, options);
    else if (verb === 'modifyvm')
      for (const [option, values] of options) vm.settings[option] = values.join(' ');
    else if (vm.controllers.some(({ media }) => Object.keys(media).length > 0))
      fail('a test: media are attached when it is unregistered');
    else delete vms[name];
  }
  return '';
}

const output = run(words);
if (Object.keys(vms).length === 0) rmSync(stateFile, { force: true });
else if (JSON.stringify(vms) !== before) {
  // Others look meanwhile.
  writeFileSync(`${stateFile}.${process.pid}`, JSON.stringify(vms));
  renameSync(`${stateFile}.${process.pid}`, stateFile);
}
process.stdout.write(output);
