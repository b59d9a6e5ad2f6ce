/** The path of a target for the log: no query, and no token of a pre-authenticated request, which is a permission. */
export function shownPath(target: string): string {
  const [path = ''] = target.split('?');
  return path.replace(/\/p\/[^/]+/, '/p/…');
}
