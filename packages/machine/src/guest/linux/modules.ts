/** The module that a path is of, with underscores; undefined for other files. */
export function moduleName(path: string): string | undefined {
  const [, name] = /([A-Za-z0-9_-]{1,64})\.ko(?:\.(?:xz|zst|gz))?$/.exec(path) ?? [];
  return name?.replaceAll('-', '_');
}

/** The modules that lines of paths name, up to a colon: modules.builtin, modules.dep. */
export function modulesOf(text: string): Set<string> {
  const names = new Set<string>();
  for (const line of text.split('\n')) {
    const name = moduleName(line.split(':', 1)[0]?.trim() ?? '');
    if (name !== undefined) names.add(name);
  }
  return names;
}
