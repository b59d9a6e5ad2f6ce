/**
 * Why a name from a descriptor does not lead to a file inside of the descriptor's folder, judged by the name alone;
 * undefined when it does.
 */
export function outsideOfFolder(path: string): string | undefined {
  if (path.startsWith('/')) return 'is an absolute path';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no name of a file has it
  if (/\u0000/.test(path)) return 'has a character that no name of a file has';
  let depth = 0;
  for (const part of path.split('/')) {
    if (part === '..') depth -= 1;
    else if (part !== '' && part !== '.') depth += 1;
    if (depth < 0) return 'leads out of the folder of the descriptor';
  }
  return depth === 0 ? 'is a folder' : undefined;
}
