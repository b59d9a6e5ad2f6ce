import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  formats,
  ImageError,
  imageErrorCodes,
  refusedFormats,
  StoreError,
  storeErrorCodes,
} from '@gantry/disk';
import { serve } from '@gantry/service';
import { projectFiles, readProjectFile, root } from './files.ts';
import {
  anchorOf,
  codeWords,
  projectModule,
  relativeLinks,
  sectionOf,
  sectionsOf,
  tableRows,
} from './pages.ts';

const { domainErrorCodes, DomainError } = await projectModule<{
  readonly domainErrorCodes: readonly string[];
  readonly DomainError: new (code: string, message: string) => Error;
}>('packages/service/src/domain/errors.ts');
const { refusalOf } = await projectModule<{ refusalOf(error: unknown): { readonly status: number } }>(
  'packages/service/src/api/native/errors.ts',
);
const { commandErrorCodes, EXIT, exitCodeOf } = await projectModule<{
  readonly commandErrorCodes: readonly string[];
  readonly EXIT: Readonly<Record<string, number>>;
  exitCodeOf(code: string): number;
}>('packages/cli/src/errors/codes.ts');

const serviceCodes = [...imageErrorCodes, ...storeErrorCodes, ...domainErrorCodes];
const allCodes = [...new Set([...serviceCodes, ...commandErrorCodes])].sort();

/** The targets of links to error pages in a text. */
function linkedCodes(text: string): string[] {
  return [...text.matchAll(/\[([A-Z_]+)\]\((?:\.\.\/errors\/)?\1\.md\)/g)].map(([, code = '']) => code);
}

function sorted(words: Iterable<string>): string[] {
  return [...words].sort();
}

test('every error code has one page, and every page a code', () => {
  const pages = projectFiles('docs/errors/*.md').filter((path) => basename(path) !== 'README.md');
  assert.deepEqual(sorted(pages.map((path) => basename(path, '.md'))), allCodes);
  for (const path of pages) {
    const headings = sectionsOf(path).map(({ level, heading }) => `${'#'.repeat(level)} ${heading}`);
    const expected = [`# ${basename(path, '.md')}`, '## When', '## What to do'];
    assert.deepEqual(headings, expected, path);
    for (const { heading, text } of sectionsOf(path)) assert.notEqual(text.trim(), '', `${path}: ${heading}`);
  }
});

test('the list of errors names every code once, by its group', () => {
  const page = 'docs/errors/README.md';
  const listed = (heading: string) =>
    tableRows(sectionOf(page, heading).text).flatMap(([code = '']) => linkedCodes(code));
  assert.deepEqual(listed('Images'), [...imageErrorCodes]);
  assert.deepEqual(listed('Stores'), [...storeErrorCodes]);
  assert.deepEqual(listed('Service'), [...domainErrorCodes]);
  const commandOnly = commandErrorCodes.filter((code) => !serviceCodes.some((known) => known === code));
  assert.deepEqual(listed('Command'), commandOnly);
});

const formatsPage = 'docs/reference/formats.md';

test('the page of formats names every format, what it can do, and its options with their values', () => {
  const [title] = sectionsOf(formatsPage);
  const rows = tableRows(title?.text.split('\n## ')[0] ?? '');
  const shown = rows.map(([name = '', formatTitle, files = '', , view, stream, check]) => ({
    name: codeWords(name)[0],
    title: formatTitle,
    extensions: codeWords(files).map((word) => word.slice(1)),
    isWritten: view !== '' || stream !== '',
    isChecked: check === 'yes',
  }));
  const expected = formats.map((format) => ({
    name: format.name,
    title: format.title,
    extensions: [...format.extensions],
    isWritten: format.plan !== undefined,
    isChecked: format.check !== undefined,
  }));
  assert.deepEqual(shown, expected);
  const headings = sectionsOf(formatsPage).filter(({ heading }) =>
    formats.some(({ name }) => name === heading),
  );
  for (const format of formats) {
    const text = headings.find(({ heading }) => heading === format.name)?.text ?? '';
    const options = tableRows(text).map(([name = '', values = '']) => ({ name, values: codeWords(values) }));
    assert.deepEqual(
      options.map(({ name }) => name),
      (format.options ?? []).map(({ name }) => `\`${name}\``),
      format.name,
    );
    for (const [index, { values }] of (format.options ?? []).entries()) {
      if (values !== undefined) assert.deepEqual(options[index]?.values, [...values], format.name);
    }
    const compressions = codeWords(/^Compression: .*$/m.exec(text)?.[0] ?? '').filter((word) =>
      ['zlib', 'zstd'].includes(word),
    );
    assert.deepEqual(sorted(new Set(compressions)), sorted(format.compressions ?? []), format.name);
  }
});

test('the page of formats names every format that is recognised and refused', () => {
  const rows = tableRows(sectionOf(formatsPage, 'Recognised and refused').text);
  const names = rows.flatMap(([name = '']) => codeWords(name));
  assert.deepEqual(
    names,
    refusedFormats.map((format) => format.name),
  );
});

const apiPage = 'docs/reference/http-api.md';

test('the page of the HTTP API names every route that the service describes, and no other', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-docs-'));
  try {
    const service = await serve({ dataFolder: folder, listen: '127.0.0.1:0', logLevel: 'silent' });
    try {
      const answer = await fetch(`${service.address}/api/v1/openapi.json`);
      const { paths } = (await answer.json()) as { paths: Record<string, Record<string, unknown>> };
      const described = Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `\`${method.toUpperCase()} ${path}\``),
      );
      assert.ok(described.length > 20, `${described.length} routes`);
      const headings = sectionsOf(apiPage).filter(({ heading }) => heading.startsWith('`'));
      assert.deepEqual(sorted(headings.map(({ heading }) => heading)), sorted(described));
    } finally {
      await service.stop();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the page of the HTTP API gives the status of every code', () => {
  const statusOf = (code: string): number => {
    const image = imageErrorCodes.find((known) => known === code);
    const store = storeErrorCodes.find((known) => known === code);
    if (image !== undefined) return refusalOf(new ImageError(image, 'x', { structure: 'x' })).status;
    if (store !== undefined) return refusalOf(new StoreError(store, 'x', { where: 'x' })).status;
    return refusalOf(new DomainError(code, 'x')).status;
  };
  const rows = tableRows(sectionOf(apiPage, 'Errors').text);
  const shown = rows.flatMap(([status, codes = '']) => linkedCodes(codes).map((code) => `${code} ${status}`));
  assert.deepEqual(sorted(shown), sorted(serviceCodes.map((code) => `${code} ${statusOf(code)}`)));
  const named = codeWords(readProjectFile(apiPage)).filter((word) => /^[A-Z]+_[A-Z_]+$/.test(word));
  assert.deepEqual(
    named.filter((code) => !allCodes.includes(code)),
    [],
  );
});

const commandPage = 'docs/reference/command.md';

/** What of a command of commander's the page has to name. */
interface GrammarCommand {
  readonly commands: readonly GrammarCommand[];
  readonly options: readonly { readonly long?: string | null; readonly short?: string | null }[];
  readonly registeredArguments: readonly { name(): string }[];
  name(): string;
}

const { buildProgram } = await projectModule<{ buildProgram(): GrammarCommand }>('packages/cli/src/main.ts');

function flagsOf(command: GrammarCommand): string[] {
  return command.options.flatMap(({ long, short }) =>
    [long, short].filter((flag) => typeof flag === 'string'),
  );
}

/** Every verb by the words that call it. */
function verbsOf(command: GrammarCommand, before: readonly string[] = []): [string, GrammarCommand][] {
  const path = [...before, command.name()];
  if (command.commands.length === 0) return [[path.join(' '), command]];
  return command.commands.flatMap((child) => verbsOf(child, path));
}

function flagsIn(text: string): string[] {
  return [...text.matchAll(/(?<![\w-])--?[a-zA-Z][\w-]*/g)].map(([flag]) => flag);
}

test('the page of the command has a section for every verb, with its arguments and flags', () => {
  const program = buildProgram();
  const verbs = verbsOf(program);
  assert.ok(verbs.length > 20, `${verbs.length} verbs`);
  const sections = sectionsOf(commandPage).filter(({ heading }) => heading.startsWith('gantry '));
  assert.deepEqual(sorted(sections.map(({ heading }) => heading)), sorted(verbs.map(([path]) => path)));
  for (const [path, verb] of verbs) {
    const words = codeWords(sectionOf(commandPage, path).text).join('\n');
    for (const argument of verb.registeredArguments) {
      assert.ok(words.includes(`<${argument.name()}>`), `${path}: <${argument.name()}>`);
    }
    const shown = flagsIn(words);
    for (const flag of flagsOf(verb)) assert.ok(shown.includes(flag), `${path}: ${flag}`);
    const own = [...flagsOf(verb), ...flagsOf(program)];
    const tabled = tableRows(sectionOf(commandPage, path).text).flatMap(([flag = '']) => flagsIn(flag));
    assert.deepEqual(
      tabled.filter((flag) => !own.includes(flag)),
      [],
      path,
    );
  }
  const everywhere = flagsIn(codeWords(sectionOf(commandPage, 'Everywhere').text).join('\n'));
  for (const flag of [...flagsOf(program), '-h', '--help']) assert.ok(everywhere.includes(flag), flag);
});

test('no page names a flag of the command that does not exist', () => {
  const program = buildProgram();
  const known = new Set(
    [program, ...verbsOf(program).map(([, verb]) => verb)].flatMap(flagsOf).concat('-h', '--help'),
  );
  const unknown = flagsIn(codeWords(readProjectFile(commandPage)).join('\n'));
  assert.deepEqual(
    unknown.filter((flag) => !known.has(flag)),
    [],
  );
  for (const path of projectFiles('*.md')) {
    for (const [call] of readProjectFile(path).matchAll(/\bgantry (?:[a-z]+ )+[^|`\n]*/g)) {
      const wrong = flagsIn(call).filter((flag) => !known.has(flag));
      assert.deepEqual(wrong, [], `${path}: ${call}`);
    }
  }
});

test('no page calls a command that does not exist', () => {
  const verbs = verbsOf(buildProgram()).map(([path]) => path);
  const paths = projectFiles('*.md');
  for (const path of paths) {
    const text = readProjectFile(path);
    const blocks = [...text.matchAll(/^ *```(?:sh|toml|ini)?\n([\s\S]*?)^ *```/gm)].map(
      ([, block = '']) => block,
    );
    const calls = [...blocks.flatMap((block) => block.split('\n')), ...codeWords(text)];
    for (const call of calls) {
      const [, words] = /^\s*(?:\$ )?(?:npx )?(gantry [a-z][a-z-]*(?: [a-z]+(?:-[a-z]+)*)?)/.exec(call) ?? [];
      if (words === undefined) continue;
      const isKnown = verbs.some((verb) => verb === words || words.startsWith(`${verb} `));
      assert.ok(isKnown || verbs.some((verb) => verb.startsWith(`${words} `)), `${path}: ${call}`);
    }
  }
});

test('the page of the command names every exit status and the codes that lead to it', () => {
  const rows = tableRows(sectionOf(commandPage, 'Exit statuses').text);
  assert.deepEqual(
    rows.map(([status]) => Number(status)),
    Object.values(EXIT).sort((a, b) => a - b),
  );
  const shown = rows.flatMap(([status, meaning = '']) =>
    linkedCodes(meaning).map((code) => `${code} ${status}`),
  );
  const expected = allCodes.filter((code) => exitCodeOf(code) !== EXIT.failed);
  assert.deepEqual(sorted(shown), sorted(expected.map((code) => `${code} ${exitCodeOf(code)}`)));
});

/** The names that the index of a package exports. */
function exportsOf(index: string): string[] {
  const lists = [...readProjectFile(index).matchAll(/export (?:type )?\{([^}]*)\}/g)];
  return lists.flatMap(([, list = '']) =>
    list
      .split(',')
      .map((name) => name.trim().replace(/^type /, ''))
      .filter((name) => name !== ''),
  );
}

test('the page of machines names every export once, and nothing else', () => {
  const rows = tableRows(sectionOf('docs/reference/machine.md', 'Exports').text);
  const exported = exportsOf('packages/machine/src/index.ts');
  assert.deepEqual(sorted(rows.flatMap(([names = '']) => codeWords(names))), sorted(exported));
});

test('the page of the library names every export once, and nothing else', () => {
  const exported = exportsOf('packages/disk/src/index.ts');
  assert.ok(exported.length > 50, `${exported.length} exports`);
  const rows = tableRows(readProjectFile('docs/reference/library.md'));
  assert.deepEqual(sorted(rows.flatMap(([names = '']) => codeWords(names))), sorted(exported));
});

test('every relative link of every page leads to a file that exists, and to a heading in it', () => {
  const pages = projectFiles('*.md');
  assert.ok(pages.length > 40, `${pages.length} pages`);
  const wrong: string[] = [];
  for (const page of pages) {
    for (const { file, anchor } of relativeLinks(page)) {
      const target = file === '' ? page : join(dirname(page), file);
      const isThere = !target.startsWith('..') && existsSync(join(root, target));
      const anchors = () => sectionsOf(target).map(({ heading }) => anchorOf(heading));
      if (!isThere || (anchor !== '' && !anchors().includes(anchor)))
        wrong.push(`${page}: ${file}#${anchor}`);
    }
  }
  assert.deepEqual(wrong, []);
});
