import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import fc from 'fast-check';
import { requireNoTerminal } from './byte-stream.ts';
import { Output, type OutputFormat } from './output.ts';
import { shellWord } from './printable.ts';
import { durationText, exactSizeText, sizeText, timeText } from './quantities.ts';
import { type Plain, yamlText } from './yaml.ts';

async function written(format: OutputFormat, work: (output: Output) => Promise<void>): Promise<string> {
  const stream = new PassThrough();
  const all = text(stream);
  await work(new Output(format, stream));
  stream.end();
  return all;
}

test('one record is printed in each form', async () => {
  const record = { name: 'vm', sizes: [1, 2], details: { deep: { x: null } }, nothing: [], gone: undefined };
  const print = (output: Output) => output.record(record);
  assert.equal(
    await written('table', print),
    'name: vm\nsizes: 1, 2\ndetails:\n  deep:\n    x: -\nnothing: -\n',
  );
  assert.deepEqual(JSON.parse(await written('json', print)), JSON.parse(JSON.stringify(record)));
  const yaml = 'name: vm\nsizes:\n  - 1\n  - 2\ndetails:\n  deep:\n    x: null\nnothing: []\n';
  assert.equal(await written('yaml', print), yaml);
});

test('a list is a table with aligned columns, an array or a sequence', async () => {
  const items = [
    { name: 'a', size: 5 },
    { name: 'longer\u001b', size: 12 },
  ];
  const print = (output: Output) =>
    output.list(items, [
      { title: 'NAME', value: ({ name }) => name },
      { title: 'SIZE', align: 'right', value: ({ size }) => String(size) },
    ]);
  assert.equal(await written('table', print), 'NAME        SIZE\na              5\nlonger\\x1b    12\n');
  assert.deepEqual(JSON.parse(await written('json', print)), items);
  assert.equal(await written('yaml', print), '- name: a\n  size: 5\n- name: "longer\\u001b"\n  size: 12\n');
});

test('a stream is a line for each, and an empty one is still well-formed', async () => {
  async function* items(count: number): AsyncGenerator<{ at: number }> {
    for (let at = 0; at < count; at++) yield { at };
  }
  const print = (count: number) => (output: Output) => output.stream(items(count), 'AT', ({ at }) => `${at}`);
  assert.equal(await written('table', print(2)), 'AT\n0\n1\n');
  assert.equal(await written('json', print(2)), '{"at":0}\n{"at":1}\n');
  assert.equal(await written('yaml', print(2)), '- at: 0\n- at: 1\n');
  assert.equal(await written('yaml', print(0)), '[]\n');
  assert.equal((await written('table', print(30_000))).split('\n').length, 30_002);
});

test('YAML means the same to another reader of YAML', () => {
  const leaf = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }).filter((value) => value.isWellFormed() && !value.includes('\ufffe')),
    fc.constantFrom(
      'yes',
      'No',
      'null',
      '~',
      '1e3',
      '0x1f',
      '2001-01-01',
      '- a',
      'a: b',
      '# c',
      ' x',
      'x ',
      'é',
      '',
    ),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  const { value: tree } = fc.letrec<{ value: Plain }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('on', 'a b', '1')), tie('value'), { maxKeys: 4 }),
    ),
  }));
  const samples = fc.sample(tree, { numRuns: 400, seed: 7 });
  const script =
    'import json,sys,yaml; print(json.dumps([yaml.safe_load(text) for text in json.load(sys.stdin)]))';
  const input = JSON.stringify(samples.map(yamlText));
  const read = JSON.parse(
    execFileSync('/usr/bin/python3', ['-c', script], { input, encoding: 'utf8', maxBuffer: 2 ** 26 }),
  );
  assert.deepEqual(read, JSON.parse(JSON.stringify(samples)));
});

test('sizes, durations and times are read by people', () => {
  assert.equal(sizeText(0), '0 bytes');
  assert.equal(sizeText(1023), '1023 bytes');
  assert.equal(sizeText(1024), '1 KiB');
  assert.equal(sizeText(1536), '1.50 KiB');
  assert.equal(sizeText(123.4 * 1024 ** 3), '123 GiB');
  assert.equal(exactSizeText(3 * 1024 ** 2), '3 MiB (3145728 bytes)');
  assert.equal(durationText(7), '0:07');
  assert.equal(durationText(3725), '1:02:05');
  assert.equal(timeText(0), '1970-01-01 00:00:00Z');
  assert.equal(timeText(null), '-');
});

test('a hint can be pasted into a shell', () => {
  for (const text of ['plain/x-1.img', 'it\'s $HOME `x` \\ "q"', ' ', '*', '']) {
    const printed = execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' });
    assert.equal(printed, text);
  }
  assert.equal(shellWord('plain/x-1.img'), 'plain/x-1.img');
});

test('an image is not written onto a terminal', () => {
  assert.throws(() => requireNoTerminal({ isTTY: true }), { code: 'USAGE' });
  requireNoTerminal({});
});
