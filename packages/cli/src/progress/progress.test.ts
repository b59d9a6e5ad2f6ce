import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ProgressMode, ProgressReporter, readingText } from './progress.ts';

const MIB = 1024 * 1024;

class Screen {
  readonly isTTY: boolean;
  readonly columns = 60;
  readonly writes: string[] = [];
  nowMs = 0;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.writes.push(text);
  }

  reporter(mode: ProgressMode): ProgressReporter {
    return new ProgressReporter(mode, this, () => this.nowMs);
  }
}

test('a terminal is redrawn at most ten times a second, whatever the number of steps', () => {
  const screen = new Screen(true);
  const progress = screen.reporter('auto');
  for (; screen.nowMs < 1000; screen.nowMs++) {
    progress.step({ phase: 'copy', doneBytes: screen.nowMs * MIB, totalBytes: 2000 * MIB });
  }
  assert.equal(screen.writes.length, 10);
  assert.ok(screen.writes.every((text) => text.startsWith('\r\u001b[K') && text.length <= 4 + 59));
  assert.match(screen.writes.at(-1) ?? '', /copy {2}45 % {2}900 MiB of 1.95 GiB {2}1000 MiB\/s {2}0:01 left/);
  progress.end();
  assert.equal(screen.writes.at(-1), '\r\u001b[K');
});

test('work in several phases tells how much of all is done, and no bytes where nobody counts them', () => {
  const reading = { bytesPerSecond: null, etaSeconds: null, overallPercent: 31.7 };
  const waiting = { ...reading, phase: 'export image', doneBytes: 0, totalBytes: null };
  assert.equal(readingText(waiting), '31 % in all  export image');
  const loading = { ...reading, phase: 'download', doneBytes: MIB, totalBytes: 4 * MIB };
  assert.equal(readingText(loading), '31 % in all  download  25 %  1 MiB of 4 MiB');
  const screen = new Screen(false);
  const progress = screen.reporter('json');
  progress.step({ phase: 'export image', doneBytes: 0, totalBytes: null, overallPercent: 31.7 });
  assert.equal(JSON.parse(screen.writes[0] ?? '').overallPercent, 31.7);
});

test('auto shows nothing where standard error is no terminal', () => {
  const screen = new Screen(false);
  const progress = screen.reporter('auto');
  progress.step({ phase: 'copy', doneBytes: 1, totalBytes: 2 });
  progress.note('said');
  progress.end();
  assert.deepEqual(screen.writes, ['said\n']);
});

test('json is an object a line; the end of each phase is always there', () => {
  const screen = new Screen(false);
  const progress = screen.reporter('json');
  progress.step({ phase: 'scan', doneBytes: 0, totalBytes: 10 });
  screen.nowMs = 50;
  progress.step({ phase: 'scan', doneBytes: 10, totalBytes: 10 });
  screen.nowMs = 2050;
  progress.step({ phase: 'copy', doneBytes: 0, totalBytes: null });
  screen.nowMs = 2060;
  progress.step({ phase: 'copy', doneBytes: 5, totalBytes: null });
  progress.end();
  const lines = screen.writes.map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ phase, doneBytes }) => [phase, doneBytes]),
    [
      ['scan', 0],
      ['scan', 10],
      ['copy', 0],
      ['copy', 5],
    ],
  );
  assert.deepEqual(Object.keys(lines[0]), [
    'phase',
    'doneBytes',
    'totalBytes',
    'bytesPerSecond',
    'etaSeconds',
  ]);
});

test('parts that end out of order never move progress backwards', () => {
  const screen = new Screen(false);
  const progress = screen.reporter('json');
  for (const doneBytes of [5, 3, 8, 6]) {
    screen.nowMs += 1000;
    progress.step({ phase: 'copy', doneBytes, totalBytes: 10 });
  }
  const done = screen.writes.map((line) => JSON.parse(line).doneBytes);
  assert.deepEqual(done, [5, 5, 8, 8]);
});

test('the rate follows a stall, and no rate means no remaining time', () => {
  const screen = new Screen(false);
  const progress = screen.reporter('json');
  for (; screen.nowMs <= 10_000; screen.nowMs += 1000) {
    progress.step({ phase: 'copy', doneBytes: screen.nowMs * MIB, totalBytes: 1000 * 1000 * MIB });
  }
  const before = JSON.parse(screen.writes.at(-1) ?? '');
  assert.equal(before.bytesPerSecond, 1000 * MIB);
  assert.equal(before.etaSeconds, 990);
  for (; screen.nowMs <= 60_000; screen.nowMs += 1000) {
    progress.step({ phase: 'copy', doneBytes: 10_000 * MIB, totalBytes: 1000 * 1000 * MIB });
  }
  assert.ok(JSON.parse(screen.writes.at(-1) ?? '').bytesPerSecond < MIB);
  assert.equal(
    readingText({ phase: 'copy', doneBytes: 0, totalBytes: 0, bytesPerSecond: null, etaSeconds: null }),
    'copy  100 %  0 bytes of 0 bytes',
  );
});

test('a sentence stands above the line of progress', () => {
  const screen = new Screen(true);
  const progress = screen.reporter('tty');
  progress.step({ phase: 'copy', doneBytes: 1, totalBytes: null });
  progress.note('a warning\n');
  assert.deepEqual(screen.writes.slice(1), ['\r\u001b[K', 'a warning\\x0a\n', '\r\u001b[Kcopy  1 bytes']);
});
