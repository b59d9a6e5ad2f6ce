import { type Command, InvalidArgumentError } from 'commander';
import { action } from '../action.ts';

const IMAGE = 'id or name of an image of the service; or oci://PROFILE/IMAGE_OCID';
const BUCKET = "bucket that the archive goes through; the service's own has a default";
const CONFIG_FILE = 'OCI configuration file (also OCI_CONFIG_FILE); ~/.oci/config when not given';
const ENDPOINT = "where OCI's services answer, instead of those of the region";

export function addReplicate(image: Command): void {
  image
    .command('replicate')
    .description('bring an image into another service, or another region of OCI')
    .argument('<image>', IMAGE)
    .requiredOption('--to <target>', 'client profile of the other service; or oci://PROFILE/REGION')
    .option('--name <name>', 'name of the new image; that of the image when not given')
    .option('--bucket <bucket>', BUCKET)
    .option('--to-bucket <bucket>', 'OCI: bucket in the other region; one of the same name when not given')
    .option('--compartment <ocid>', 'OCI: compartment of the new image')
    .option('--config-file <file>', `OCI: ${CONFIG_FILE}`)
    .option('--endpoint <url>', `OCI: ${ENDPOINT}`)
    .option('--to-endpoint <url>', `OCI: the same, of the other region`)
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry image replicate web-01 --to other-site.toml\n' +
        '  gantry image replicate oci://DEFAULT/ocid1.image.oc1..aaaa --bucket exports --to oci://DEFAULT/uk-london-1\n',
    )
    .action(action(() => import('./replicate.ts')));
}

export function addShare(image: Command): void {
  image
    .command('share')
    .description('show an image to whoever has its address, until that expires')
    .argument('<image>', IMAGE)
    .option(
      '--expires <duration>',
      'how long the address is good: 30m, 12h, 7d',
      parseDuration,
      7 * 24 * 3600,
    )
    .option('--form <format>', 'format that it is shown in; OCI has only this one', 'oci')
    .option('--bucket <bucket>', BUCKET)
    .option('--config-file <file>', `OCI: ${CONFIG_FILE}`)
    .option('--endpoint <url>', `OCI: ${ENDPOINT}`)
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry image share web-01 --expires 12h\n' +
        '  gantry image share oci://DEFAULT/ocid1.image.oc1..aaaa --bucket exports\n',
    )
    .action(action(() => import('./share.ts')));
}

const SECONDS: Readonly<Record<string, number>> = { m: 60, h: 3600, d: 24 * 3600 };
const LONGEST_SECONDS = 10 * 365 * 24 * 3600;

/** Seconds. */
function parseDuration(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (SECONDS[unit] ?? 0);
  if (seconds > 0 && seconds <= LONGEST_SECONDS) return seconds;
  throw new InvalidArgumentError('Write a number with m, h or d: 30m, 12h, 7d.');
}
