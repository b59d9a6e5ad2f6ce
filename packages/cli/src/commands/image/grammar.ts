import { type Command, Option } from 'commander';
import { action } from '../action.ts';
import { compressOption, formatOption, waitTimeoutOption } from '../arguments.ts';
import { addReplicate, addShare } from './sharing-grammar.ts';

const IMAGE = 'id of an image, or its name where only one has it';

export function addImageCommands(program: Command): void {
  const image = program
    .command('image')
    .description('images that a service keeps')
    .addHelpText('after', '\nExample:\n  gantry image list\n');
  addImport(image);
  addCapture(image);
  addExport(image);
  addReplicate(image);
  addShare(image);
  image
    .command('list')
    .description('list images, newest first')
    .addHelpText('after', '\nExample:\n  gantry image list\n')
    .action(action(() => import('./list.ts')));
  image
    .command('show')
    .description('show an image')
    .argument('<image>', IMAGE)
    .addHelpText('after', '\nExample:\n  gantry image show web-01\n')
    .action(action(() => import('./show.ts')));
  image
    .command('update')
    .description('change what is said of an image')
    .argument('<image>', IMAGE)
    .option('--name <name>', 'another name')
    .option('--os <name>', 'operating system in it')
    .option('--os-version <version>', 'version of that')
    .addHelpText('after', '\nExample:\n  gantry image update web-01 --os Debian --os-version 13\n')
    .action(action(() => import('./update.ts')));
  image
    .command('delete')
    .description('delete an image; objects that show it stay whole')
    .argument('<image>', IMAGE)
    .addHelpText('after', '\nExample:\n  gantry image delete web-01\n')
    .action(action(() => import('./delete.ts')));
}

function addImport(image: Command): void {
  image
    .command('import')
    .description('bring a disk image into the service')
    .argument('<source>', 'a file, an http(s) address that the service can reach, or BUCKET/KEY')
    .requiredOption('--name <name>', 'name of the new image')
    .option('--format <format>', 'format of the source; found by its mark when not given')
    .option('--member <name>', 'the disk of an archive that holds several')
    .option('--snapshot <name>', 'name or id of the internal snapshot to bring in')
    .option('--os <name>', 'operating system in it, such as "Oracle Linux"')
    .option('--os-version <version>', 'version of that')
    .addOption(
      new Option('--launch-mode <mode>', 'devices that instances get; by default PARAVIRTUALIZED').choices([
        'NATIVE',
        'EMULATED',
        'PARAVIRTUALIZED',
        'ACCELERATEDPV',
      ]),
    )
    .option('--compartment <id>', "where it shall belong; by default the tenancy's root")
    .option('--wait', 'wait until the image is there')
    .addOption(waitTimeoutOption())
    .addOption(
      new Option(
        '--stream',
        'send the file as one request that is decoded as it arrives; does not resume',
      ).conflicts(['timeout']),
    )
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry image import vm.qcow2 --name web-01 --wait\n' +
        '  gantry image import https://example.org/debian.qcow2 --name debian\n' +
        '  gantry image import my-bucket/vm.vmdk --name web-02\n',
    )
    .action(action(() => import('./import.ts')));
}

function addCapture(image: Command): void {
  image
    .command('capture')
    .description('make an image of an instance as it is at one moment, while it goes on')
    .argument('<instance>', 'id of an instance, or its name where only one has it')
    .requiredOption('--name <name>', 'name of the new image')
    .option('--reboot', 'restart the guest for it, so that its disks are as after a shutdown')
    .option('--all-volumes', 'an image of each of its volumes, all of the same moment')
    .option('--compartment <id>', "where it shall belong; by default the instance's compartment")
    .option('--wait', 'wait until the image is there')
    .addOption(waitTimeoutOption())
    .addHelpText('after', '\nExample:\n  gantry image capture web-01 --name web-01-before-upgrade --wait\n')
    .action(action(() => import('./capture.ts')));
}

function addExport(image: Command): void {
  image
    .command('export')
    .description('write an image as a file of a format, here or into a bucket')
    .argument('<image>', IMAGE)
    .requiredOption('--format <format>', 'format to write')
    .requiredOption(
      '--to <target>',
      'BUCKET/KEY; a file here, with ./ or / before it when its name has a slash; or - for standard output',
    )
    .addOption(formatOption())
    .addOption(compressOption())
    .option('--materialize', 'into a bucket: store the bytes, where otherwise a view of the image would do')
    .option('--wait', 'into a bucket: wait until the object is there')
    .addOption(waitTimeoutOption())
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry image export web-01 --format vmdk --to web-01.vmdk\n' +
        '  gantry image export web-01 --format qcow2 --compress zstd --to my-bucket/web-01.qcow2 --wait\n',
    )
    .action(action(() => import('./export.ts')));
}
