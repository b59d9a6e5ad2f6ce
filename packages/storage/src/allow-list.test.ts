import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAllowList } from './allow-list.ts';

test('a host is allowed at every port, or at the one that is named', () => {
  const allow = parseAllowList(['MinIO.lan', 'store.lan:9000']);
  assert.equal(allow.allowsHost('minio.lan', 80), true);
  assert.equal(allow.allowsHost('store.lan', 9000), true);
  assert.equal(allow.allowsHost('store.lan', 9001), false);
  assert.equal(allow.allowsHost('other.lan', 80), false);
  assert.equal(allow.allowsHost('sub.minio.lan', 80), false);
});

test('an address is allowed in any way of writing it, with or without a port', () => {
  const allow = parseAllowList(['10.0.0.5', '0x7f.1:8080', 'FD00::0:1', '[fd00::2]:9000']);
  assert.equal(allow.allowsAddress('10.0.0.5', 80), true);
  assert.equal(allow.allowsAddress('10.0.0.6', 80), false);
  assert.equal(allow.allowsAddress('127.0.0.1', 8080), true);
  assert.equal(allow.allowsAddress('127.0.0.1', 80), false);
  assert.equal(allow.allowsAddress('fd00::1', 80), true);
  assert.equal(allow.allowsAddress('fd00::2', 9000), true);
  assert.equal(allow.allowsAddress('fd00::2', 80), false);
});

test('a subnet allows its addresses at every port', () => {
  const allow = parseAllowList(['10.1.0.0/16', 'fd00::/8']);
  assert.equal(allow.allowsAddress('10.1.255.255', 1), true);
  assert.equal(allow.allowsAddress('10.2.0.0', 1), false);
  assert.equal(allow.allowsAddress('fdff::1', 1), true);
  assert.equal(allow.allowsAddress('fe80::1', 1), false);
  assert.equal(allow.allowsHost('10.2.0.0', 1), false);
});

test('an entry that is neither host nor subnet is refused', () => {
  const entries = [
    '',
    '10.0.0.0/33',
    'fd00::/129',
    'host/8',
    'http://host',
    'host:99999',
    'a b',
    'u@host',
    'host:',
  ];
  for (const entry of entries) assert.throws(() => parseAllowList([entry]), TypeError, entry);
});
