import { type Command, Option } from 'commander';
import { action } from '../action.ts';
import { waitTimeoutOption } from '../arguments.ts';

const JOB = 'id of a job';
const STATES = ['queued', 'running', 'succeeded', 'failed', 'canceled'];

export function addJobCommands(program: Command): void {
  const job = program
    .command('job')
    .description('long work of a service: imports, exports, checks')
    .addHelpText('after', '\nExample:\n  gantry job list\n');
  job
    .command('list')
    .description('list jobs, newest first')
    .addOption(new Option('--state <state>', 'only jobs in this state').choices(STATES))
    .addHelpText('after', '\nExample:\n  gantry job list --state running\n')
    .action(action(() => import('./list.ts')));
  job
    .command('show')
    .description('show a job with its log')
    .argument('<job>', JOB)
    .addHelpText('after', '\nExample:\n  gantry job show job-0199c0de\n')
    .action(action(() => import('./show.ts')));
  job
    .command('watch')
    .description('follow a job to its end; Ctrl-C leaves it running')
    .argument('<job>', JOB)
    .addOption(waitTimeoutOption())
    .addHelpText('after', '\nExample:\n  gantry job watch job-0199c0de\n')
    .action(action(() => import('./watch.ts')));
  job
    .command('cancel')
    .description('cancel a job; one that runs ends soon after')
    .argument('<job>', JOB)
    .addHelpText('after', '\nExample:\n  gantry job cancel job-0199c0de\n')
    .action(action(() => import('./cancel.ts')));
  job
    .command('retry')
    .description('queue a failed or canceled job again; it goes on where it stopped')
    .argument('<job>', JOB)
    .addHelpText('after', '\nExample:\n  gantry job retry job-0199c0de\n')
    .action(action(() => import('./retry.ts')));
}
