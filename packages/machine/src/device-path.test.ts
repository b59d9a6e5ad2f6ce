import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDevicePath } from './device-path.ts';

test('files in memory are no devices', () => {
  assert.ok(isDevicePath('/dev/vg0/web'));
  assert.ok(!isDevicePath('/dev/shm/web.qcow2'));
  assert.ok(!isDevicePath('/var/lib/dev/sda'));
});
