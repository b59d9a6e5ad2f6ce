import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface PrivateLibvirt {
  readonly uri: string;
  /** Where its QEMU may read and write. */
  readonly folder: string;
  end(): Promise<void>;
}

/** The user that has no rights. */
const NOBODY = 65_534;

/** A libvirt of an unprivileged user, with folders of its own. */
export async function privateLibvirt(): Promise<PrivateLibvirt> {
  const root = await mkdtemp(join(tmpdir(), 'gantry-lv-'));
  await chmod(root, 0o777);
  const place = async (name: string) => {
    await mkdir(join(root, name));
    await chmod(join(root, name), 0o777);
    return join(root, name);
  };
  const env = {
    PATH: process.env.PATH,
    HOME: root,
    XDG_RUNTIME_DIR: await place('run'),
    XDG_CONFIG_HOME: await place('config'),
    XDG_CACHE_HOME: await place('cache'),
    XDG_DATA_HOME: await place('data'),
  };
  const folder = await place('vm');
  // For root it would be that of the system.
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (isRoot) await chown(folder, NOBODY, NOBODY);
  const daemon = spawn('/usr/sbin/libvirtd', [], {
    ...user,
    env,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-4096);
  });
  const ended = once(daemon, 'close');
  const socket = join(env.XDG_RUNTIME_DIR, 'libvirt/libvirt-sock');
  const isThere = () =>
    access(socket).then(
      () => true,
      () => false,
    );
  while (!(await isThere())) {
    if (daemon.exitCode !== null) throw new Error(`libvirtd ended: ${complaint}`);
    await delay(50);
  }
  return {
    uri: `qemu+unix:///session?socket=${socket}`,
    folder,
    async end() {
      daemon.kill();
      await ended;
      await rm(root, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}
