// Writes docs/reference/library-api.md: the signature and the doc comment of every export of @gantry/disk, from the
// declarations that tsc makes, in the order of docs/reference/library.md. `--check` only looks whether it is current.
// TypeScript 7 has no interface for programs that typedoc could use; declarations are regular enough to be cut by hand.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { projectEnvironment, root } from './dependencies.mjs';

const page = join(root, 'docs/reference/library-api.md');
const home = join(root, 'packages/disk');

const text = withDeclarations((folder) => {
  const found = exportsOf(folder);
  return pageOf(found, sectionsOf(readFileSync(join(root, 'docs/reference/library.md'), 'utf8')));
});
if (!process.argv.includes('--check')) writeFileSync(page, text);
else if (readFileSync(page, 'utf8') !== text) {
  console.error('docs/reference/library-api.md is not current: run node setup/api-docs.mjs');
  process.exit(1);
}

/** Works on a folder with the declarations of the engine's modules. */
function withDeclarations(work) {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-api-'));
  try {
    const args = ['-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--outDir', folder];
    execFileSync('tsc', args, {
      cwd: home,
      env: projectEnvironment(),
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Every export of the index by its name: comment and declaration. */
function exportsOf(folder) {
  const found = new Map();
  const index = readFileSync(join(folder, 'index.d.ts'), 'utf8');
  for (const [, names, path] of index.matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)';/g)) {
    for (const name of names.split(',').map((word) => word.trim().replace(/^type /, ''))) {
      if (name !== '') found.set(name, declarationOf(folder, path, name));
    }
  }
  return found;
}

/** The declaration of a name in a module, or in the one that it passes on from. */
function declarationOf(folder, path, name) {
  const code = readFileSync(join(folder, path.replace(/\.[jt]s$/, '.d.ts')), 'utf8');
  const pattern = new RegExp(
    `^export (?:declare )?(?:abstract )?(function\\*?|async function|interface|type|class|const) ${name}\\b`,
    'm',
  );
  const start = code.search(pattern);
  if (start >= 0) return { comment: commentBefore(code, start), code: declarationAt(code, start) };
  for (const [, names, other] of code.matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)';/g)) {
    const passed = names.split(',').map((word) => word.trim().replace(/^type /, ''));
    if (passed.includes(name)) return declarationOf(folder, join(dirname(path), other), name);
  }
  throw new Error(`${path} does not declare ${name}`);
}

/** Up to the brace that closes an interface or a class, or to the semicolon that ends anything else. */
function declarationAt(code, start) {
  const isBlock = /^export (?:declare )?(?:abstract )?(interface|class)/.test(code.slice(start));
  let depth = 0;
  for (let at = start; at < code.length; at++) {
    if (code.startsWith('/*', at)) at = code.indexOf('*/', at) + 1;
    else if (/['"`]/.test(code[at])) at = code.indexOf(code[at], at + 1);
    else if ('{(['.includes(code[at])) depth++;
    else if ('})]'.includes(code[at])) {
      depth--;
      if (isBlock && depth === 0 && code[at] === '}') return cleaned(code.slice(start, at + 1));
    } else if (code[at] === ';' && depth === 0) return cleaned(code.slice(start, at + 1));
  }
  throw new Error(`a declaration does not end: ${code.slice(start, start + 80)}`);
}

function cleaned(code) {
  return code
    .replace(/^export (declare )?/, '')
    .replaceAll(/^ +(?:#private|private \w+);\n/gm, '')
    .replaceAll(/^( +)/gm, (indent) => ' '.repeat(Math.floor(indent.length / 4) * 2 + (indent.length % 4)));
}

/** The doc comment that ends right before `start`, as text. */
function commentBefore(code, start) {
  const before = code.slice(0, start).trimEnd();
  if (!before.endsWith('*/')) return '';
  const comment = before.slice(before.lastIndexOf('/**') + 3, -2);
  return comment
    .split('\n')
    .map((line) => line.trim().replace(/^\* ?/, ''))
    .join(' ')
    .trim();
}

/** The sections of the reference that name exports, in its order. */
function sectionsOf(reference) {
  return reference
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const rows = [...section.matchAll(/^\|([^|]+)\|/gm)].map(([, cell]) => cell);
      const names = rows.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name));
      return { title: section.split('\n')[0], names };
    })
    .filter(({ names }) => names.length > 0);
}

function pageOf(found, sections) {
  const parts = [
    '# API: @gantry/disk\n',
    'The signature and the doc comment of every export, made from the sources by `node setup/api-docs.mjs`. [Library](library.md) says what belongs together, and has examples.\n',
  ];
  const rest = new Map(found);
  const show = (title, names) => {
    const known = names.filter((name) => rest.has(name));
    if (known.length > 0) parts.push(`## ${title}\n`);
    for (const name of known) {
      const { comment, code } = rest.get(name);
      rest.delete(name);
      parts.push(`### ${name}\n`);
      if (comment !== '') parts.push(`${comment}\n`);
      parts.push(`\`\`\`typescript\n${code}\n\`\`\`\n`);
    }
  };
  for (const { title, names } of sections) show(title, names);
  show('Types that these speak of', [...rest.keys()]);
  return parts.join('\n');
}
