import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListeners } from './listen.ts';

test('addresses to listen on are one for all, and one for a dialect alone', () => {
  const loopback = { host: '127.0.0.1', port: 7080 };
  assert.deepEqual(parseListeners('[::1]:0'), { main: { host: '::1', port: 0 }, oci: undefined });
  assert.deepEqual(parseListeners([]), { main: loopback, oci: undefined });
  const both = parseListeners(['oci=0.0.0.0:81', '127.0.0.1:7080']);
  assert.deepEqual(both, { main: loopback, oci: { host: '0.0.0.0', port: 81 } });
  const wrong = [['a:1', 'b:2'], ['oci=a:1', 'oci=b:2'], ['ec2=a:1'], ['oci='], ['a:65536'], 'a', ''];
  for (const listen of wrong)
    assert.throws(() => parseListeners(listen), { code: 'INVALID' }, String(listen));
});
