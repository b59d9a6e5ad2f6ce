import assert from 'node:assert/strict';
import { type ExecFileException, execFile } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { looksIncompressible } from '../bytes/incompressible.ts';
import { testFolder } from '../formats/images.testkit.ts';
import { accelerator } from './node-accelerator.ts';

const here = new URL('.', import.meta.url);

interface Ended {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs Node with GANTRY_NATIVE set, or unset when undefined. */
function node(use: string | undefined, args: readonly string[]): Promise<Ended> {
  const { GANTRY_NATIVE: _, ...env } = process.env;
  return new Promise((resolve) => {
    const options = { env: use === undefined ? env : { ...env, GANTRY_NATIVE: use } };
    execFile(process.execPath, args, options, (error: ExecFileException | null, stdout, stderr) => {
      resolve({ status: error === null ? 0 : (error.signal ?? error.code ?? 1), stdout, stderr });
    });
  });
}

/** Runs a program with the exports of modules of a folder in scope. */
function program(
  use: string | undefined,
  code: string,
  folder: URL = here,
  flags: string[] = [],
): Promise<Ended> {
  const imports = `
    import { accelerator, codecTier } from ${JSON.stringify(new URL('node-accelerator.ts', folder))};
    import { compressInto, decompressInto } from ${JSON.stringify(new URL('node-zlib.ts', folder))};
    import { isMainThread, Worker, workerData } from 'node:worker_threads';`;
  return node(use, [...flags, '--input-type=module-typescript', '--eval', `${imports}\n${code}`]);
}

async function tierOf(use: string | undefined, folder?: URL, flags?: string[]): Promise<string> {
  const { status, stdout, stderr } = await program(use, 'console.log(codecTier().tier)', folder, flags);
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

test('GANTRY_NATIVE switches the accelerator off, requires it, or leaves it to what is there', async () => {
  assert.equal(await tierOf('off'), 'node');
  assert.equal(await tierOf('required'), 'native');
  assert.equal(await tierOf(undefined), 'native');
  assert.equal(await tierOf('anything'), 'native');
});

test('a process that may not load native code goes on without it', async () => {
  const flags = ['--permission', '--allow-fs-read=*', '--no-warnings'];
  assert.equal(await tierOf(undefined, here, flags), 'node');
  const { status, stderr } = await program('required', 'codecTier()', here, flags);
  assert.notEqual(status, 0);
  assert.match(stderr, /ERR_DLOPEN_DISABLED/);
});

test('an engine whose accelerator is absent, not built, damaged or of another version works', async (context) => {
  const folder = await testFolder(context);
  const source = join(folder, 'src');
  for (const part of ['io', 'bytes', 'errors.ts'])
    await cp(fileURLToPath(new URL(`../${part}`, here)), join(source, part), { recursive: true });
  const home = pathToFileURL(`${join(source, 'io')}/`);
  const expectAbsent = async (message: RegExp) => {
    assert.equal(await tierOf(undefined, home), 'node');
    const { status, stderr } = await program('required', 'codecTier()', home);
    assert.notEqual(status, 0);
    assert.match(stderr, message);
  };
  await expectAbsent(/Cannot find package '@gantry\/native'/);

  const native = join(folder, 'node_modules', '@gantry', 'native');
  await mkdir(native, { recursive: true });
  const manifest = { name: '@gantry/native', type: 'module', exports: './addon.node' };
  await writeFile(join(native, 'package.json'), JSON.stringify(manifest));
  await expectAbsent(/addon\.node/);

  await writeFile(join(native, 'addon.node'), 'not a shared object');
  await expectAbsent(/addon\.node/);

  await cp(createRequire(import.meta.url).resolve('@gantry/native'), join(native, 'addon.node'));
  assert.equal(await tierOf(undefined, home), 'native');
  const loader = join(source, 'io', 'node-accelerator.ts');
  const text = await readFile(loader, 'utf8');
  await writeFile(loader, text.replace(/INTERFACE_VERSION = \d+/, 'INTERFACE_VERSION = 0'));
  await expectAbsent(/built for another version/);
});

test('threads have the tier of the process', async () => {
  const code = `
    if (isMainThread) console.log(codecTier().tier);
    const worker = new Worker(
      'import(' + JSON.stringify(${JSON.stringify(new URL('node-accelerator.ts', here))}) + ').then((m) => console.log(m.codecTier().tier))',
      { eval: true });`;
  for (const [use, tier] of [
    ['off', 'node'],
    ['required', 'native'],
  ] as const) {
    const { stdout, stderr } = await program(use, code);
    assert.equal(stdout, `${tier}\n${tier}\n`, stderr);
  }
});

test('threads compress and decompress at the same time, each with codecs of its own', async () => {
  const { stdout, stderr } = await node('required', [
    fileURLToPath(new URL('codec-threads.testkit.ts', here)),
  ]);
  assert.equal(stdout, 'ok\n', stderr);
});

test('damaged data never ends the process nor leaves its target, and both tiers agree on it', async () => {
  const args = [fileURLToPath(new URL('codec-fuzz.testkit.ts', here)), '12000'];
  const { status, stdout, stderr } = await node('required', args);
  assert.equal(status, 0, stderr);
  const { accepted, refused, lenient } = JSON.parse(stdout);
  assert.ok(accepted > 1000 && refused > 1000 && lenient < 100, stdout);
});

test('what is worth compressing does not depend on the accelerator', () => {
  const native = accelerator();
  assert.ok(native !== undefined);
  const noise = (seed: number, lengthBytes: number) =>
    createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(lengthBytes));
  const verdicts = new Set<boolean>();
  fc.assert(
    fc.property(
      fc.nat({ max: 5 }),
      fc.integer({ min: 0, max: 140_000 }),
      // Islands in the noise: what they are made of, how long, how far apart.
      fc.constantFrom('zeros', 'text', 'earlier', 'skewed', 'nothing'),
      fc.integer({ min: 1, max: 3000 }),
      fc.integer({ min: 64, max: 40_000 }),
      (seed, lengthBytes, kind, islandBytes, gapBytes) => {
        const bytes = noise(seed, lengthBytes);
        for (let at = gapBytes; kind !== 'nothing' && at < lengthBytes; at += gapBytes + islandBytes) {
          const island = bytes.subarray(at, at + islandBytes);
          if (kind === 'zeros') island.fill(0);
          else if (kind === 'text') island.fill('the same words again, and a few others ');
          else if (kind === 'earlier') bytes.copyWithin(at, 0, islandBytes);
          else for (const [i, byte] of island.entries()) island[i] = byte & 0xfc;
        }
        const verdict = looksIncompressible(bytes);
        assert.equal(native.looksIncompressible(bytes), verdict);
        // Nor on what was looked at before.
        assert.equal(looksIncompressible(bytes), verdict);
        verdicts.add(verdict);
      },
    ),
    { numRuns: 300 },
  );
  assert.equal(verdicts.size, 2);
});
