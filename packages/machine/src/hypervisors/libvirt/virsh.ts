import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageError, StoreError } from '@gantry/disk';
import { readCapabilities } from '../../host/capabilities.ts';
import type { Host } from '../../host/host.ts';

/** Long lists of domains fit; what is longer is not read. */
const OUTPUT_LENGTH_MAX: number = 4 * 1024 * 1024;

export interface LibvirtOptions {
  /** Such as `qemu:///system`. Default: as libvirt chooses. */
  readonly uri?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The program. Default: `virsh`, by `PATH`. */
  readonly program?: string | undefined;
}

export interface DefineOptions {
  /** Start it, and define it when that went well. */
  readonly start: boolean;
  /** Ends and removes the domain of this name first. */
  readonly replace?: boolean | undefined;
}

/** A host of libvirt, spoken to through virsh. Everything throws STORE_IO with virsh's own words when it fails. */
export class LibvirtHost {
  readonly #options: LibvirtOptions;

  constructor(options: LibvirtOptions = {}) {
    this.#options = options;
  }

  async capabilities(): Promise<Host> {
    return readCapabilities(new TextEncoder().encode(await this.#virsh('capabilities')));
  }

  /** The names of all domains, running or not. */
  async domainNames(): Promise<string[]> {
    return lines(await this.#virsh('list', '--all', '--name'));
  }

  async networkNames(): Promise<string[]> {
    return lines(await this.#virsh('net-list', '--all', '--name'));
  }

  /** Defines a domain of this name from its XML. */
  async define(name: string, xml: string, { start, replace = false }: DefineOptions): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-virsh-'));
    try {
      const file = join(folder, 'domain.xml');
      await writeFile(file, xml, { mode: 0o600 });
      // virsh goes on after a command that failed, and ends as the last one did.
      const domain = `--domain ${quoted(name)}`;
      const before = replace ? [`destroy ${domain}`, `undefine ${domain}`] : [];
      await this.#virsh([...before, `${start ? 'create' : 'define'} --file ${quoted(file)}`].join('; '));
      // What could not be started is not defined.
      if (start) await this.#virsh('define', '--file', file);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #virsh(...args: readonly string[]): Promise<string> {
    return runVirsh(this.#options, ...args);
  }
}

/** What virsh prints. Throws STORE_IO with its own words, STORE_NOT_FOUND when it, or a domain, is not there. */
export function runVirsh(options: LibvirtOptions, ...args: readonly string[]): Promise<string> {
  const { uri, signal, program = 'virsh' } = options;
  const connect = uri === undefined ? [] : ['--connect', uri];
  return new Promise((resolve, reject) => {
    const words = [...connect, '--quiet', ...args];
    const env = { ...process.env, LC_ALL: 'C' };
    execFile(program, words, { signal, env, maxBuffer: OUTPUT_LENGTH_MAX }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(signal?.aborted === true ? signal.reason : virshError(error, stderr));
    });
  });
}

function virshError(error: Error, stderr: string): Error {
  const isMissing = 'code' in error && error.code === 'ENOENT';
  if (isMissing) {
    return new StoreError('STORE_NOT_FOUND', 'virsh cannot be started', {
      where: 'virsh',
      hint: 'install libvirt-clients; `gantry machine run` needs no libvirt',
      cause: error,
    });
  }
  const words = stderr
    .trim()
    .replaceAll(/^error: /gm, '')
    .replaceAll('\n', '; ');
  if (/failed to get domain|Domain not found/i.test(words))
    return new StoreError('STORE_NOT_FOUND', `libvirt has no such domain: ${words}`, { where: 'virsh' });
  if (/not supported by the connection driver|unsupported by|only supported (?:by|with)/.test(words)) {
    return new ImageError('IMAGE_UNSUPPORTED', `libvirt cannot do that here: ${words}`, {
      structure: 'libvirt connection',
      hint: 'use a connection to QEMU: qemu:///system',
    });
  }
  return new StoreError('STORE_IO', `libvirt refuses: ${words}`, { where: 'virsh' });
}

export function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** A word of virsh's own command line. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
