import { type Command, Option } from 'commander';
import { action, collect } from '../action.ts';
import { compressOption, formatOption, parseCount, parseLength, parseSeed } from '../arguments.ts';

const fromOption = () =>
  new Option('--from <format>', 'format of the source; found by its mark when not given');
const referenceOption = () =>
  new Option(
    '--reference <name=[format:]file>',
    'the file that a name inside the image means; no other is ever opened (repeatable)',
  ).argParser(collect);

const referencesFromOption = () =>
  new Option(
    '--references-from <folder>',
    'names inside the image mean the regular files of this folder with exactly these names',
  );

const snapshotOption = () =>
  new Option('--snapshot <name>', 'name or id of the internal snapshot to read instead of the present state');
const memberOption = () => new Option('--member <name>', 'the disk of an archive that holds several');
const sourceLengthOption = () =>
  new Option('--source-length <bytes>', 'length of what comes through a pipe, where you know it').argParser(
    parseLength,
  );

const CONSUMERS = 'virtualbox, vmware, hyper-v, azure, aws, oci, ims, qemu or proxmox';
const seedOption = () =>
  new Option('--seed <hex>', '32 bytes that identifiers in the file derive from; random').argParser(
    parseSeed,
  );

const forOption = (description: string) => new Option('--for <consumer>', `${description}: ${CONSUMERS}`);

const FILE =
  'disk image: a path, an http(s) address that answers ranges, an nbd address, or - for standard input';

export function addDiskCommands(program: Command): void {
  const disk = program
    .command('disk')
    .description('look at disk images and convert them; needs no service')
    .addHelpText('after', '\nExample:\n  gantry disk info vm.qcow2\n');
  disk
    .command('info')
    .description('show format, sizes and details of an image')
    .argument('<file>', FILE)
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk info vm.qcow2\n')
    .action(action(() => import('./info.ts')));
  disk
    .command('inspect')
    .description('look at the guest on a disk: would it boot, and with what; exit status 3 when it would not')
    .argument('<file>', FILE)
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk inspect vm.qcow2\n')
    .action(action(() => import('./inspect.ts')));
  disk
    .command('map')
    .description('list the extents of the disk: data, zero or hole')
    .argument('<file>', FILE)
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk map -o json vm.qcow2\n')
    .action(action(() => import('./map.ts')));
  disk
    .command('check')
    .description('look for damage without changing anything; exit status 3 when there is some')
    .argument('<file>', FILE)
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(forOption('look whether this one would take the file'))
    .option('--repair <target>', 'write a copy in which what is certain is repaired')
    .option('--repair-in-place', 'repair the file itself, when nothing of the damage would remain')
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry disk check vm.qcow2\n' +
        '  gantry disk check vm.vhd --for azure\n' +
        '  gantry disk check vm.qcow2 --repair repaired.qcow2\n',
    )
    .action(action(() => import('./check.ts')));
  disk
    .command('compare')
    .description('compare what the guest sees of two images; exit status 3 when it differs')
    .argument('<a>', FILE)
    .argument('<b>', 'the other one')
    .addOption(new Option('--from <format>', 'format of A; found by its mark when not given'))
    .addOption(new Option('--from-b <format>', 'format of B; found by its mark when not given'))
    .addOption(new Option('--snapshot <name>', 'internal snapshot of A to read'))
    .addOption(new Option('--snapshot-b <name>', 'internal snapshot of B to read'))
    .addOption(new Option('--member <name>', 'the disk of A, an archive that holds several'))
    .addOption(new Option('--member-b <name>', 'the disk of B, an archive that holds several'))
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk compare vm.vmdk vm.qcow2\n')
    .action(action(() => import('./compare.ts')));
  addConvert(disk);
  addMeasure(disk);
  addSetClock(disk);
  addServe(disk);
  disk
    .command('digest')
    .description('print the disk digest, the same for every format, then the virtual size in bytes')
    .argument('<file>', FILE)
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk digest vm.qcow2\n')
    .action(action(() => import('./digest.ts')));
}

function addServe(disk: Command): void {
  disk
    .command('serve')
    .description('serve the disk of an image by NBD until it is interrupted')
    .argument('<file>', FILE)
    .option('--socket <path>', 'listen at a socket in the file system, which only you can connect to')
    .option(
      '--listen <host:port>',
      'listen at a TCP port; port 0 takes a free one (default: 127.0.0.1:10809)',
    )
    .option('--allow-remote', 'listen at an address that other machines reach: NBD asks for no password')
    .option('--export <name>', 'name of the export', '')
    .option(
      '--overlay <file>',
      'let clients write, and keep what they change in this qcow2 file; made when absent',
    )
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry disk serve vm.vmdk --socket /tmp/vm.sock\n' +
        '  gantry disk serve vm.oci --overlay changes.qcow2\n',
    )
    .action(action(() => import('./serve.ts')));
}

function addConvert(disk: Command): void {
  disk
    .command('convert')
    .description('write the disk of an image as a file of another format')
    .argument('<source>', FILE)
    .argument('<target>', 'file to write, replaced only when complete; - for standard output')
    .option('--to <format>', "format to write; by the target's name when not given")
    .addOption(forOption('write what this one takes best'))
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(formatOption())
    .addOption(compressOption())
    .addOption(seedOption())
    .option('--dry-run', 'print what would be written, with its exact size')
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry disk convert vm.vmdk vm.qcow2\n' +
        '  gantry disk convert vm.qcow2 vm.vmdk -O subformat=streamOptimized\n' +
        '  gantry disk convert vm.qcow2 vm.vhd --for azure\n' +
        '  gantry disk convert vm.ova vm.qcow2 --member vmdisk2\n' +
        '  xz -dc vm.raw.xz | gantry disk convert - vm.qcow2\n' +
        '  gantry disk convert vm.qcow2 - --to raw | ssh host "dd of=/dev/vg/vm"\n',
    )
    .action(action(() => import('./convert.ts')));
}

function addMeasure(disk: Command): void {
  disk
    .command('measure')
    .description('print how long the file of a conversion would be')
    .argument('<source>', FILE)
    .option('--to <format>', 'format that would be written')
    .addOption(forOption('what would be written for this one'))
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(formatOption())
    .addOption(compressOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText('after', '\nExample:\n  gantry disk measure vm.vmdk --to qcow2\n')
    .action(action(() => import('./measure.ts')));
}

function addSetClock(disk: Command): void {
  disk
    .command('set-clock')
    .description('make the Windows on a disk take the hardware clock for UTC, as clouds and QEMU have it')
    .argument('<source>', FILE)
    .argument('[target]', 'file to write the changed image to, replaced only when complete')
    .option('--dry-run', 'print the changes, and make none')
    .addOption(
      new Option('--partition <number>', 'the Windows that is meant, where there are several').argParser(
        parseCount,
      ),
    )
    .option('--in-place', 'change a raw file itself; needs --undo')
    .option(
      '--undo <file>',
      'keep what takes the changes back in this new file, written before they are made',
    )
    .option('--apply-undo <file>', 'take changes back, also those that were not all made')
    .option('--to <format>', "format to write; by the target's name when not given")
    .addOption(forOption('write what this one takes best'))
    .addOption(fromOption())
    .addOption(snapshotOption())
    .addOption(memberOption())
    .addOption(sourceLengthOption())
    .addOption(formatOption())
    .addOption(compressOption())
    .addOption(seedOption())
    .addOption(referenceOption())
    .addOption(referencesFromOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry disk set-clock vm.vmdk --dry-run\n' +
        '  gantry disk set-clock vm.vmdk vm.qcow2\n' +
        '  gantry disk set-clock vm.raw --in-place --undo vm.undo.json\n' +
        '  gantry disk set-clock vm.raw --in-place --apply-undo vm.undo.json\n',
    )
    .action(action(() => import('./set-clock.ts')));
}
