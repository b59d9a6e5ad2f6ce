import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RateWindow } from './rate.ts';

test('a steady stream has its own rate', () => {
  const rate = new RateWindow();
  for (let second = 0; second <= 60; second += 1) rate.add(second * 1000, second * 4096);
  assert.equal(rate.bytesPerSecond(), 4096);
});

test('there is no rate before some time has passed', () => {
  const rate = new RateWindow();
  assert.equal(rate.bytesPerSecond(), undefined);
  rate.add(1000, 0);
  assert.equal(rate.bytesPerSecond(), undefined);
  rate.add(1001, 1_000_000_000);
  assert.equal(rate.bytesPerSecond(), undefined);
});

test('what an attempt before had done is not speed', () => {
  const rate = new RateWindow();
  rate.add(0, 1_000_000);
  rate.add(1000, 1_000_100);
  assert.equal(rate.bytesPerSecond(), 100);
});

test('a stream that stalls or speeds up shows it within the window', () => {
  const rate = new RateWindow();
  for (let second = 0; second <= 20; second += 1) rate.add(second * 1000, second * 100);
  for (let second = 21; second <= 30; second += 1) rate.add(second * 1000, 2000);
  assert.equal(rate.bytesPerSecond(), 0);
  for (let second = 31; second <= 40; second += 1) rate.add(second * 1000, 2000 + (second - 30) * 1000);
  assert.equal(rate.bytesPerSecond(), 1000);
});
