import { type Command, Option } from 'commander';
import { action, collect } from '../action.ts';

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the image service until it is interrupted')
    .requiredOption('--data <folder>', 'where the service keeps everything; made when absent')
    .option('--listen <host:port>', 'where it answers; port 0 takes a free one', '127.0.0.1:7080')
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
    .addHelpText('after', '\nExample:\n  gantry serve --data ./data --listen 127.0.0.1:7080\n')
    .action(action(() => import('./serve.ts')));
}
