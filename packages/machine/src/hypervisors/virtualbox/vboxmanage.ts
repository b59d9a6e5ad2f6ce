import { execFile } from 'node:child_process';
import { StoreError } from '@gantry/disk';

/** Descriptions of machines fit. */
const OUTPUT_LENGTH_MAX: number = 4 * 1024 * 1024;

/**
 * What VBoxManage prints. Throws STORE_NOT_FOUND when it, or a machine, is not there, STORE_IO with its own words.
 */
export function runVBoxManage(program: string, ...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, LC_ALL: 'C', VBOX_USER_NOLANG: '1' };
    execFile(program, [...args], { env, maxBuffer: OUTPUT_LENGTH_MAX }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(failure(error, program, stderr));
    });
  });
}

function failure(error: Error, program: string, stderr: string): StoreError {
  if ('code' in error && error.code === 'ENOENT') {
    return new StoreError('STORE_NOT_FOUND', `${program} cannot be started`, {
      where: program,
      hint: 'install VirtualBox, or say where its VBoxManage is',
      cause: error,
    });
  }
  const words = stderr
    .split('\n')
    .filter((line) => line.startsWith('VBoxManage: error: '))
    .map((line) => line.slice('VBoxManage: error: '.length))
    .join('; ');
  const isMissing = /Could not find a registered machine/.test(words);
  return new StoreError(
    isMissing ? 'STORE_NOT_FOUND' : 'STORE_IO',
    `VirtualBox refuses: ${words || stderr.trim()}`,
    {
      where: program,
    },
  );
}

/** The values of `showvminfo --machinereadable`, by their names: `name="value"` and `"name"="value"` lines. */
export function machineReadable(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, quoted, plain, value, bare] = /^(?:"([^"]*)"|([^=]*))=(?:"(.*)"|(.*?))\r?$/.exec(line) ?? [];
    const name = quoted ?? plain;
    if (name !== undefined) values.set(name, value ?? bare ?? '');
  }
  return values;
}
