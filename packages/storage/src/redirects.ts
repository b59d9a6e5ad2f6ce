import { StoreError, shownAddress } from '@gantry/disk';

/** Request headers that say nothing about who asks: all that another origin is told. */
const anonymousHeaders = new Set([
  'accept',
  'accept-encoding',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'range',
  'user-agent',
]);

/** Where an answer of `from` leads to, or undefined when it is no redirect. Throws STORE_REFUSED. */
export function redirectTarget(from: URL, status: number, location: string | undefined): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(status)) return undefined;
  const where = shownAddress(from);
  const target = URL.parse(location ?? '', from);
  if (location === undefined || target === null) {
    throw new StoreError('STORE_REFUSED', `${where} redirects to no valid address`, { where });
  }
  if (from.protocol === 'https:' && target.protocol === 'http:') {
    throw new StoreError('STORE_REFUSED', `${where} redirects from https to http`, {
      where,
      hint: 'give the http address itself if the bytes may travel unprotected',
    });
  }
  return target;
}

/** The headers to send on: credentials of any kind stay with the origin that they were given for. */
export function headersAfterRedirect(
  from: URL,
  to: URL,
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (from.origin === to.origin) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => anonymousHeaders.has(name)));
}
