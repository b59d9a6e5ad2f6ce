import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const root: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The project's files that match a git pathspec, as paths from its root: tracked ones and new ones. */
export function projectFiles(...pathspecs: string[]): string[] {
  const output = execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '-z', ...pathspecs],
    { cwd: root, encoding: 'utf8' },
  );
  return output.split('\0').filter((path) => path !== '');
}

export function readProjectFile(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** The module specifiers of a TypeScript file's imports and re-exports, dynamic ones too. */
export function importedModules(path: string): string[] {
  const pattern = /(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)(['"])([^'"]+)\1/g;
  return [...readProjectFile(path).matchAll(pattern)].map((match) => match[2] ?? '');
}
