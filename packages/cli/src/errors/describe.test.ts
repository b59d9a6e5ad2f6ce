import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImageError, imageErrorCodes, StoreError, storeErrorCodes } from '@gantry/disk';
import { gantry } from '../command.testkit.ts';
import { commandErrorCodes, EXIT, exitCodeOf } from './codes.ts';
import { CommandError } from './command-error.ts';
import { errorCode, errorText } from './describe.ts';

test('an error says what, where, why and what to do, each on a line of its own', () => {
  const cause = new Error('connect ECONNREFUSED');
  const error = new CommandError('SERVICE_UNREACHABLE', 'no answer', {
    where: 'http://x',
    hint: 'start it',
    cause,
  });
  const text =
    'error[SERVICE_UNREACHABLE]: no answer\n  where: http://x\n  why: connect ECONNREFUSED\n  do: start it\n';
  assert.equal(errorText(error, false), text);
});

test('what a service that is started here refuses is no fault of the command', async () => {
  const folder = join(tmpdir(), 'gantry-never-made');
  for (const [flag, value, message] of [
    ['--region', 'a b', /^error\[INVALID\]: "a b" cannot be a region's name\n/],
    [
      '--peer',
      'local=http://127.0.0.1:9',
      /^error\[INVALID\]: there are two regions local\n {2}do: .*--region/,
    ],
  ] as const) {
    const { code, stderr } = await gantry([
      'serve',
      '--data',
      folder,
      '--listen',
      '127.0.0.1:0',
      flag,
      value,
    ]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test('an image error names the structure and the byte', () => {
  const place = { structure: 'qcow2 L1 table', offsetBytes: 40, hint: 'copy it again' };
  const text = errorText(new ImageError('IMAGE_MALFORMED', 'the table is cut', place), false);
  const lines = ['the table is cut', '  where: qcow2 L1 table, at byte 40', '  do: copy it again', ''];
  assert.equal(text, `error[IMAGE_MALFORMED]: ${lines.join('\n')}`);
});

test('text from an image cannot command the terminal', () => {
  const place = { structure: 'name', hint: 'see \u202eabc' };
  const text = errorText(new ImageError('IMAGE_REFERENCE', 'names "\u001b[2J\nx\u009b1m"', place), false);
  assert.match(text, /^error\[IMAGE_REFERENCE\]: names "\\x1b\[2J\\x0ax\\x9b1m"\n/);
  assert.ok(text.includes('see \\u202eabc (--reference'));
});

test('what nobody foresaw is INTERNAL, tells how to see the stack, and shows it when asked', () => {
  const error = new TypeError('x is undefined', { cause: new Error('deeper') });
  assert.match(
    errorText(error, false),
    /^error\[INTERNAL\]: x is undefined\n(?: {2}.*\n)* {2}do: .*GANTRY_DEBUG=1/,
  );
  const shown = errorText(error, true);
  assert.match(shown, /describe\.test\.ts/);
  assert.match(shown, /caused by: Error: deeper/);
  assert.equal(errorCode('just text'), 'INTERNAL');
});

test('exit statuses follow from codes', () => {
  const expected: Record<string, number> = {
    STORE_REFUSED: 9,
    IMAGE_REFERENCE: 9,
    IMAGE_AMBIGUOUS: 9,
    IMAGE_OPTION: 2,
    STORE_NOT_FOUND: 5,
    STORE_EXISTS: 6,
    STORE_DENIED: 4,
    STORE_FULL: 7,
  };
  for (const code of imageErrorCodes) {
    assert.equal(
      exitCodeOf(errorCode(new ImageError(code, 'x', { structure: 'y' }))),
      expected[code] ?? EXIT.failed,
      code,
    );
  }
  for (const code of storeErrorCodes) {
    assert.equal(
      exitCodeOf(errorCode(new StoreError(code, 'x', { where: 'y' }))),
      expected[code] ?? EXIT.failed,
      code,
    );
  }
  assert.deepEqual(
    commandErrorCodes.map((code) => [code, exitCodeOf(code)]),
    [
      ['USAGE', 2],
      ['PROFILE', 2],
      ['SERVICE_UNREACHABLE', 1],
      ['SERVICE_ANSWER', 1],
      ['WAIT_TIMEOUT', 8],
      ['INTERRUPTED', 130],
      ['NOT_FOUND', 5],
      ['CONFLICT', 6],
      ['VERIFY_FAILED', 1],
      ['INTERNAL', 1],
    ],
  );
  assert.equal(exitCodeOf('toString'), EXIT.failed);
});
