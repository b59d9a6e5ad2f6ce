import { type Command, Option } from 'commander';
import { action, collect } from '../action.ts';
import { parseCount, parseLength } from '../arguments.ts';

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the image service until it is interrupted')
    .requiredOption('--data <folder>', 'where the service keeps everything; made when absent')
    .addOption(
      new Option(
        '--listen <[oci=]host:port>',
        'where it answers, by default 127.0.0.1:7080; port 0 takes a free one; oci=HOST:PORT is for the clients of OCI alone (repeatable)',
      ).argParser(collect),
    )
    .option('--region <name>', 'name of this service among those of the same operator', 'local')
    .addOption(
      new Option('--peer <name=url>', 'another region and the address of its service (repeatable)').argParser(
        collect,
      ),
    )
    .option(
      '--realm-key <file>',
      'a secret of at least 32 bytes that the services of all regions share, for copies between them',
    )
    .addOption(
      new Option('--log-level <level>', 'how much it tells on standard error')
        .choices(LEVELS)
        .default('info'),
    )
    .addOption(
      new Option(
        '--allow <host|cidr>',
        'a host or network that imports may reach although it is not public (repeatable)',
      ).argParser(collect),
    )
    .addOption(
      new Option(
        '--image-size-max <bytes>',
        'refuse to import larger disks; by default those above 32 TiB',
      ).argParser(parseLength),
    )
    .option('--shapes <file>', "JSON list of the shapes that instances may have; by default OCI's")
    .addOption(
      new Option('--hypervisor <qemu|none>', 'what runs instances; without one they are records')
        .choices(['qemu', 'none'])
        .default('qemu'),
    )
    .option(
      '--instance-network <isolated|nat|bridge=name>',
      'what instances are connected to; with nat they also reach what this host offers to itself',
      'isolated',
    )
    .addOption(
      new Option(
        '--instance-cpus <n>',
        'CPUs of all instances that run together; by default four times those of this host',
      ).argParser(parseCount),
    )
    .addOption(
      new Option(
        '--instance-memory <bytes>',
        'memory of all instances that run together; by default what this host has, but for 1 GiB',
      ).argParser(parseLength),
    )
    .addOption(
      new Option(
        '--instance-disk <bytes>',
        'sizes of all volumes together; by default without a limit',
      ).argParser(parseLength),
    )
    .addOption(
      new Option(
        '--instance-grace <seconds>',
        'how long guests have to end by themselves where nobody says; by default 15 minutes',
      ).argParser(parseCount),
    )
    .addHelpText('after', '\nExample:\n  gantry serve --data ./data --listen 127.0.0.1:7080\n')
    .action(action(() => import('./serve.ts')));
}
