import { type Nic, type NicModel, nicModels } from '@gantry/machine';
import { usageError } from '../../errors/command-error.ts';

const KINDS = 'user, none, bridge:NAME or network:NAME, with ,model=… and ,mac=…';

/** A NIC as `--network` says it: `user,model=e1000`, `bridge:br0`, `network=default,mac=RANDOM`. Throws USAGE. */
export function parseNetwork(text: string): Nic {
  const [kind = '', ...options] = text.split(',');
  const model = wordAfter(options, 'model');
  const mac = wordAfter(options, 'mac');
  const unknown = options.find((option) => !/^(?:model|mac)=/.test(option));
  if (unknown !== undefined)
    throw usageError(`--network: ${JSON.stringify(unknown)} is not known`, `write ${KINDS}`);
  return {
    ...networkOf(kind, text),
    ...(model !== undefined && { model: modelNamed(model) }),
    ...(mac !== undefined && mac.toUpperCase() !== 'RANDOM' && { macAddress: parseMac(mac) }),
  };
}

function wordAfter(options: readonly string[], name: string): string | undefined {
  return options.find((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
}

function networkOf(kind: string, text: string): Nic {
  if (kind === 'user') return { network: 'nat' };
  if (kind === 'none') return { network: 'unplugged' };
  const [, word, name = ''] = /^(bridge|network)[:=](.+)$/.exec(kind) ?? [];
  if (word === undefined)
    throw usageError(`--network: ${JSON.stringify(text)} is no network`, `write ${KINDS}`);
  return { network: word === 'bridge' ? 'bridged' : 'named', networkName: name };
}

function modelNamed(name: string): NicModel {
  const known = nicModels.find((model) => model === name);
  if (known !== undefined) return known;
  throw usageError(
    `--network: there is no model ${JSON.stringify(name)}`,
    `use one of ${nicModels.join(', ')}`,
  );
}

/** The address of one NIC, in lower case. Throws USAGE. */
export function parseMac(text: string): string {
  const address = text.toLowerCase();
  if (/^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/.test(address)) return address;
  throw usageError(
    `${JSON.stringify(text)} is no address of a NIC`,
    'write it as 52:54:00:12:34:56, or RANDOM',
  );
}
