import { Command, CommanderError, Option } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { addBucketCommands } from './commands/bucket/grammar.ts';
import { addCompartmentCommands } from './commands/compartment/grammar.ts';
import { addDiskCommands } from './commands/disk/grammar.ts';
import { addImageCommands } from './commands/image/grammar.ts';
import { addInstanceCommands } from './commands/instance/grammar.ts';
import { addJobCommands } from './commands/job/grammar.ts';
import { addMachineCommands } from './commands/machine/grammar.ts';
import { addObjectCommands } from './commands/object/grammar.ts';
import { addOciCommands } from './commands/oci/grammar.ts';
import { addParCommands } from './commands/par/grammar.ts';
import { addServeCommand } from './commands/serve/grammar.ts';
import { addTenancyCommands } from './commands/tenancy/grammar.ts';
import { addUserCommands } from './commands/user/grammar.ts';
import { addVaultCommands } from './commands/vault/grammar.ts';
import { addVirtImageCommand } from './commands/virt-image/grammar.ts';
import { addVolumeCommands } from './commands/volume/grammar.ts';
import { EXIT, exitCodeOf } from './errors/codes.ts';
import { CommandError } from './errors/command-error.ts';
import { errorCode, errorText } from './errors/describe.ts';
import { outputFormats } from './output/output.ts';
import { OutputClosed } from './output/write.ts';
import { progressModes } from './progress/progress.ts';

const groups: Readonly<Record<string, (program: Command) => void>> = {
  disk: addDiskCommands,
  image: addImageCommands,
  instance: addInstanceCommands,
  volume: addVolumeCommands,
  machine: addMachineCommands,
  'virt-image': addVirtImageCommand,
  job: addJobCommands,
  bucket: addBucketCommands,
  object: addObjectCommands,
  par: addParCommands,
  vault: addVaultCommands,
  tenancy: addTenancyCommands,
  user: addUserCommands,
  compartment: addCompartmentCommands,
  oci: addOciCommands,
  serve: addServeCommand,
};

/**
 * The whole grammar: every command, argument and flag; or only that of the group that `word` names. What the verbs
 * do is loaded when one is called.
 */
export function buildProgram(word = ''): Command {
  const program = new Command('gantry')
    .description('Moves virtual machines between clouds and hypervisors')
    .version(packageFile.version, '--version', 'print the version')
    .helpOption('-h, --help', 'print help and an example')
    .configureHelp({ showGlobalOptions: true })
    .addOption(
      new Option('-o, --output <format>', 'form of the data on standard output')
        .choices(outputFormats)
        .default('table'),
    )
    .addOption(
      new Option('--progress <mode>', 'how progress is shown on standard error')
        .choices(progressModes)
        .default('auto'),
    )
    .option('--profile <file>', 'client profile of the service to talk to (also GANTRY_PROFILE)')
    .addHelpText('after', '\nExample:\n  gantry disk convert vm.vmdk vm.qcow2\n');
  const asked = Object.hasOwn(groups, word) ? groups[word] : undefined;
  for (const add of asked ? [asked] : Object.values(groups)) add(program);
  reportUsage(program, []);
  return program;
}

/** Usage errors name the command that was meant; nothing exits by itself. */
function reportUsage(command: Command, parents: readonly string[]): void {
  const path = [...parents, command.name()];
  command
    .helpCommand(false)
    .configureOutput({ outputError: () => {} })
    .exitOverride((error) => {
      if (error.exitCode === 0) throw error;
      throw new CommandError('USAGE', usageMessage(error), { hint: `see ${path.join(' ')} --help` });
    });
  for (const child of command.commands) reportUsage(child, path);
}

function usageMessage(error: CommanderError): string {
  // Called without a verb: commander has printed the help and says only `(outputHelp)`.
  if (error.code === 'commander.help') return 'say what to do';
  return error.message.replace(/^error: /, '').replaceAll('\n', ' ');
}

/** Runs the command line (without the program's name). Gives the exit status; errors are on standard error. */
export async function main(args: readonly string[]): Promise<number> {
  process.exitCode = EXIT.ok;
  // A reader that went away is met by the write that needs it, or by nobody: `gantry --help | head -1`.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  try {
    await buildProgram(args[0]).parseAsync(args, { from: 'user' });
    return Number(process.exitCode);
  } catch (error) {
    if (error instanceof CommanderError || error instanceof OutputClosed) return EXIT.ok;
    process.stderr.write(errorText(error, process.env.GANTRY_DEBUG === '1'));
    return exitCodeOf(errorCode(error));
  }
}
