import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { gantry, startGantry } from './command.testkit.ts';
import { buildProgram } from './main.ts';

function all(command: Command, path: readonly string[] = []): [string[], Command][] {
  const own = [...path, command.name()];
  return [[own, command], ...command.commands.flatMap((child) => all(child, own))];
}

test('every command explains itself and gives an example of itself', () => {
  for (const [path, command] of all(buildProgram())) {
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    assert.match(help, /Examples?:\n/, path.join(' '));
    assert.ok(help.slice(help.indexOf('Example')).includes(`  ${path.join(' ')}`), path.join(' '));
    for (const option of command.options)
      assert.notEqual(option.description, '', `${path.join(' ')} ${option.flags}`);
    for (const argument of command.registeredArguments)
      assert.notEqual(argument.description, '', path.join(' '));
  }
});

test('what is wrong with a command line is said in one form, with exit status 2', async () => {
  for (const [args, what] of [
    [[], 'say what to do'],
    [['disk'], 'say what to do'],
    [['disk', 'nonsense'], "unknown command 'nonsense'"],
    [['disk', 'info'], "missing required argument 'file'"],
    [['disk', 'info', 'a', 'b'], 'too many arguments'],
    [['disk', 'info', 'a', '--nonsense'], "unknown option '--nonsense'"],
    [['disk', 'info', 'a', '-o', 'xml'], "option '-o, --output <format>' argument 'xml' is invalid"],
  ] as const) {
    const { code, stdout, stderr } = await gantry(args);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, '');
    assert.ok(stderr.includes(`error[USAGE]: ${what}`), stderr);
    assert.match(stderr, /\n {2}do: see gantry( disk)?( info)? --help\n$/);
  }
});

test('a reader of the help who went away is no failure', async () => {
  const running = startGantry(['--help']);
  running.child.stdout?.destroy();
  const { code, stderr } = await running.ended;
  assert.equal(code, 0);
  assert.equal(stderr, '');
});

test('help is data: it goes to standard output with exit status 0', async () => {
  const { code, stdout, stderr } = await gantry(['disk', 'convert', '--help']);
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: gantry disk convert /);
  assert.match(stdout, /--progress <mode>/);
  assert.equal(stderr, '');
});
