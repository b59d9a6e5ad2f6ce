import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readProjectFile, root } from './files.ts';

/** A part of a page: a heading, and the text up to the next heading of its level or above. */
export interface Section {
  readonly level: number;
  readonly heading: string;
  readonly text: string;
}

/** The sections of a Markdown page, those of all levels. Lines of code blocks are no headings. */
export function sectionsOf(path: string): Section[] {
  const lines = readProjectFile(path).split('\n');
  const headings: { line: number; level: number; heading: string }[] = [];
  let isCode = false;
  for (const [line, text] of lines.entries()) {
    if (text.trimStart().startsWith('```')) isCode = !isCode;
    const [, marks = '', heading = ''] = isCode ? [] : (/^(#+) (.*)$/.exec(text) ?? []);
    if (marks !== '') headings.push({ line, level: marks.length, heading });
  }
  return headings.map(({ line, level, heading }, index) => {
    const end = headings.slice(index + 1).find((next) => next.level <= level)?.line;
    return { level, heading, text: lines.slice(line + 1, end).join('\n') };
  });
}

/** The section with this heading. */
export function sectionOf(path: string, heading: string): Section {
  const found = sectionsOf(path).filter((section) => section.heading === heading);
  const [section, ...others] = found;
  if (section === undefined || others.length > 0)
    throw new Error(`${path} has ${found.length} of ${heading}`);
  return section;
}

/** The rows of the tables in a text, without their headings, as the trimmed texts of their cells. */
export function tableRows(text: string): string[][] {
  return [...text.matchAll(/^\|[-| :]+\|\n((?:\|.*\|(?:\n|$))*)/gm)].flatMap(([, rows = '']) =>
    rows
      .trim()
      .split('\n')
      .filter((row) => row !== '')
      .map((row) =>
        row
          .slice(1, -1)
          .split(/(?<!\\)\|/)
          .map((cell) => cell.trim().replaceAll('\\|', '|')),
      ),
  );
}

/** What stands between backticks, outside of code blocks. */
export function codeWords(text: string): string[] {
  return [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word);
}

/** The links of a page that are no addresses: to a file, to a heading of one, or to a heading of its own. */
export function relativeLinks(path: string): { file: string; anchor: string }[] {
  const text = readProjectFile(path).replaceAll(/^```[\s\S]*?^```/gm, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [file = '', anchor = ''] = target.split('#');
      return { file, anchor };
    });
}

/** What a link to a heading says of it, as GitHub makes it. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{Letter}\p{Number}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

/** A module of the project that its package keeps to itself. */
export async function projectModule<Module>(path: string): Promise<Module> {
  return (await import(pathToFileURL(join(root, path)).href)) as Module;
}
