import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as source from '@gantry/disk';
import { resultOfPage } from './browser.ts';
import { readProjectFile, root } from './files.ts';

const home = join(root, 'packages/disk');

/** An empty folder in which the packed package is installed. */
let folder = '';
let packedFiles: string[] = [];

function run(command: string, args: readonly string[], cwd = folder): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'gantry-pack-'));
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], home));
  packedFiles = packed.files.map((file: { path: string }) => file.path);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }');
  run('npm', ['install', '--no-audit', '--no-fund', '--offline', `./${packed.filename}`]);
});

after(() => rmSync(folder, { recursive: true }));

test('the package has its modules, their types and both builds, and nothing of the tests', () => {
  for (const path of ['dist/index.js', 'dist/index.d.ts', 'dist/web/index.js', 'README.md', 'LICENSE']) {
    assert.ok(packedFiles.includes(path), path);
  }
  const workers = packedFiles.filter((path) => /-worker\.js$/.test(path));
  assert.deepEqual(workers, ['dist/io/node-work-worker.js'], 'the threads find their script');
  const strange = packedFiles.filter((path) => !/^(dist\/|README\.md$|LICENSE$|package\.json$)/.test(path));
  assert.deepEqual(strange, []);
  assert.deepEqual(
    packedFiles.filter((path) => /\.test\.|testkit|\.ts$/.test(path.replace(/\.d\.ts$/, ''))),
    [],
  );
});

test('what is published says what it is, and asks for nothing', () => {
  const manifest = JSON.parse(readProjectFile('packages/disk/package.json'));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.sideEffects, false);
  assert.deepEqual(manifest.publishConfig, { access: 'public', provenance: true });
  assert.ok(manifest.keywords.includes('qcow2') && manifest.description.length > 20);
  const shown = run(
    'npm',
    ['publish', '--dry-run', '--offline', '--ignore-scripts', '--provenance=false', '--json'],
    home,
  );
  const published = JSON.parse(shown);
  const { name, version } = published['@gantry/disk'] ?? published;
  assert.deepEqual({ name, version }, { name: '@gantry/disk', version: manifest.version });
});

test('the package gives every export of its source', () => {
  const script = "import * as disk from '@gantry/disk'; console.log(JSON.stringify(Object.keys(disk)));";
  const names: string[] = JSON.parse(run('node', ['--input-type=module', '--eval', script]));
  assert.deepEqual(names.sort(), Object.keys(source).sort());
});

test('the threads of the built package compress', () => {
  const script = `
    import { convert, denyReferences, diskDigest, memorySink, memorySource, openDisk } from '@gantry/disk';
    const bytes = Uint8Array.from({ length: 2 ** 24 }, (_, i) => (i * 7) % 251);
    const disk = await openDisk(memorySource(bytes), { format: 'raw', references: denyReferences });
    const sink = memorySink();
    await convert(disk, sink, { format: 'qcow2', compression: 'zlib' });
    const again = await openDisk(memorySource(sink.bytes()), { references: denyReferences });
    console.log((await diskDigest(again)) === (await diskDigest(disk)), sink.bytes().length < 2 ** 23);`;
  assert.equal(run('node', ['--input-type=module', '--eval', script]), 'true true\n');
});

const examples = readdirSync(join(home, 'examples')).sort();

test('every example stands in the readme, word for word', () => {
  const blocks = [...readProjectFile('packages/disk/README.md').matchAll(/^```ts\n([\s\S]*?)^```$/gm)];
  const shown = blocks.map(([, code]) => code);
  const files = examples.map((name) => readFileSync(join(home, 'examples', name), 'utf8'));
  assert.deepEqual(shown.toSorted(), files.toSorted());
  assert.ok(examples.length >= 5);
});

test('the examples hold the types of the package, and do what they say', async () => {
  for (const name of examples) cpSync(join(home, 'examples', name), join(folder, name));
  const compilerOptions = {
    noEmit: true,
    rewriteRelativeImportExtensions: false,
    customConditions: [],
    // Those of the package too.
    skipLibCheck: false,
    typeRoots: [join(root, 'node_modules/@types')],
  };
  const settings = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  run(join(root, 'node_modules/.bin/tsc'), ['-p', '.']);
  const disk = new Uint8Array(4 * 1024 * 1024);
  disk.fill(0x5a, 1_000_000, 1_100_000);
  disk.set([0x55, 0xaa], 510);
  writeFileSync(join(folder, 'vm.raw'), disk);
  run('qemu-img', ['convert', '-O', 'vmdk', 'vm.raw', 'vm.vmdk']);
  assert.match(
    run('node', ['open.ts', 'vm.vmdk']),
    /^vmdk, a disk of 4194304 bytes, 196608 of them stored\n/,
  );
  assert.equal(run('node', ['read.ts', 'vm.vmdk']), 'has a boot sector\n');
  assert.match(
    run('node', ['convert.ts', 'vm.vmdk', 'vm.qcow2']),
    /copy 4194304 of 4194304\nwrote \d+ bytes\n$/,
  );
  assert.match(run('qemu-img', ['compare', 'vm.vmdk', 'vm.qcow2']), /identical/);
  const [verdict, left, right] = run('node', ['compare.ts', 'vm.vmdk', 'vm.qcow2']).split('\n');
  assert.equal(verdict, 'the same disk');
  assert.equal(left, right);
  await requireServed('vm.qcow2');
});

/** What the server of the example gives, whole and by ranges, is a VDI with the disk. */
async function requireServed(image: string): Promise<void> {
  const server = spawn('node', ['serve.ts', image], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [line] = await once(server.stdout, 'data');
    const port = /port: (\d+)/.exec(String(line))?.[1];
    const address = `http://127.0.0.1:${port}/vm.vdi`;
    const whole = new Uint8Array(await (await fetch(address)).arrayBuffer());
    writeFileSync(join(folder, 'served.vdi'), whole);
    assert.match(run('qemu-img', ['compare', 'served.vdi', 'vm.raw']), /identical/);
    const part = await fetch(address, { headers: { range: 'bytes=100-299' } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get('content-range'), `bytes 100-299/${whole.length}`);
    assert.deepEqual(new Uint8Array(await part.arrayBuffer()), whole.slice(100, 300));
    assert.equal((await fetch(address, { headers: { range: `bytes=${whole.length}-` } })).status, 416);
  } finally {
    server.kill();
    await once(server, 'exit');
  }
}

const WORKER = `
// Not a static import: what is wrong with a module is told then.
const disk = await import('./node_modules/@gantry/disk/dist/web/index.js').catch((error) => {
  postMessage({ error: String(error) });
  throw error;
});
const references = disk.denyReferences;
const hex = (bytes) => Array.from(disk.sha256(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');

async function written(source, options) {
  const sink = disk.memorySink();
  await disk.convert(source, sink, { seed: new Uint8Array(32), ...options });
  return sink.bytes();
}

async function run() {
  const blob = await (await fetch('packed.qcow2')).blob();
  const packed = await disk.openDisk(disk.blobSource(blob), { references });
  const remote = await disk.httpSource(new URL('packed.qcow2', location.href).href);
  const stream = await written(packed, { format: 'vmdk', options: { subformat: 'streamOptimized' } });
  const zlib = await written(packed, { format: 'qcow2', compression: 'zlib' });
  const digestOf = async (bytes) => disk.diskDigest(await disk.openDisk(disk.memorySource(bytes), { references }));
  const codeOf = (work) => work.then(() => 'done', (error) => error.code);
  const zstd = await disk.openDisk(disk.blobSource(await (await fetch('zstd.qcow2')).blob()), { references });
  return {
    digest: await disk.diskDigest(packed),
    remoteDigest: await disk.diskDigest(await disk.openDisk(remote, { references })),
    streamDigest: await digestOf(stream),
    zlibDigest: await digestOf(zlib),
    isStreamSmaller: stream.length < packed.virtualSizeBytes / 2,
    vdi: hex(await written(packed, { format: 'vdi' })),
    raw: hex(await written(packed, { format: 'raw' })),
    qcow2: hex(await written(packed, { format: 'qcow2' })),
    refused: {
      zstd: await codeOf(disk.diskDigest(zstd)),
      zstdWriting: await codeOf(written(packed, { format: 'qcow2', compression: 'zstd' })),
      file: await codeOf(disk.fileSource('vm.raw')),
    },
  };
}

run().then(postMessage, (error) => postMessage({ error: String(error?.stack ?? error) }));
`;

const PAGE = `<!doctype html><script type="module">
  const worker = new Worker('worker.js', { type: 'module' });
  const post = (result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) });
  worker.onmessage = ({ data }) => post(data);
  worker.onerror = (event) => post({ error: event.message ?? 'the worker did not start' });
</script>`;

test('a worker of a browser reads and writes images as Node does', async (context) => {
  const disk = Uint8Array.from({ length: 3 * 1024 * 1024 }, (_, i) => (i % 5 === 0 ? (i / 4096) % 251 : 7));
  disk.fill(0, 1_000_000, 2_000_000);
  writeFileSync(join(folder, 'disk.raw'), disk);
  run('qemu-img', ['convert', '-O', 'qcow2', '-c', 'disk.raw', 'packed.qcow2']);
  run('qemu-img', ['convert', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd', 'disk.raw', 'zstd.qcow2']);
  writeFileSync(join(folder, 'worker.js'), WORKER);
  writeFileSync(join(folder, 'page.html'), PAGE);
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(60_000)]);
  const result = await resultOfPage(folder, 'page.html', signal);
  const bytes = new Uint8Array(readFileSync(join(folder, 'packed.qcow2')));
  const packed = await source.openDisk(source.memorySource(bytes), { references: source.denyReferences });
  const written = async (format: string) => {
    const sink = source.memorySink();
    await source.convert(packed, sink, { format, seed: new Uint8Array(32) });
    return Buffer.from(source.sha256(sink.bytes())).toString('hex');
  };
  const digest = await source.diskDigest(packed);
  assert.deepEqual(result, {
    digest,
    remoteDigest: digest,
    streamDigest: digest,
    zlibDigest: digest,
    isStreamSmaller: true,
    vdi: await written('vdi'),
    raw: await written('raw'),
    qcow2: await written('qcow2'),
    refused: { zstd: 'IMAGE_UNSUPPORTED', zstdWriting: 'IMAGE_UNSUPPORTED', file: 'IMAGE_UNSUPPORTED' },
  });
});
