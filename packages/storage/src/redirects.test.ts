import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headersAfterRedirect, redirectTarget } from './redirects.ts';

const from = new URL('https://store.example/a/b');

test('a redirect leads to its location, relative or not', () => {
  for (const status of [301, 302, 303, 307, 308]) {
    assert.equal(redirectTarget(from, status, '../c?d')?.href, 'https://store.example/c?d');
    assert.equal(redirectTarget(from, status, 'https://cdn.example/x')?.href, 'https://cdn.example/x');
  }
});

test('other answers are no redirects, whatever their location says', () => {
  for (const status of [200, 206, 300, 304, 404]) {
    assert.equal(redirectTarget(from, status, 'https://cdn.example/'), undefined);
  }
});

test('a redirect to nowhere and one from https to http are refused', () => {
  for (const location of [undefined, 'https://', 'http://store.example/a/b']) {
    assert.throws(() => redirectTarget(from, 302, location), { code: 'STORE_REFUSED' });
  }
});

test('only headers that say nothing about the sender go to another origin', () => {
  const headers = {
    authorization: 'Basic x',
    cookie: 'a=b',
    'x-auth-token': 't',
    range: 'bytes=0-0',
    'if-match': '"v"',
  };
  const kept = { range: 'bytes=0-0', 'if-match': '"v"' };
  assert.deepEqual(headersAfterRedirect(from, new URL('https://store.example/c'), headers), headers);
  for (const other of ['https://cdn.example/', 'https://store.example:8443/', 'http://store.example/']) {
    assert.deepEqual(headersAfterRedirect(from, new URL(other), headers), kept);
  }
});
