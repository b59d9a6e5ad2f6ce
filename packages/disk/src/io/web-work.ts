import { isZero } from '../bytes/fields.ts';
import { ImageError, invariant } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import type { PackTask, WorkTask } from './node-tasks.ts';
import type { WorkNames } from './node-work.ts';
import { compress } from './web-codec.ts';

// What node-work.ts gives, in a browser: tasks are done where they are asked for, which may be a worker of the page.

export type { CopyTask } from './node-tasks.ts';
export type { WorkNames };

export function compressedBound(lengthBytes: number): number {
  return lengthBytes + Math.ceil(lengthBytes / 64) + 1024;
}

export function tasksAtOnce(): number {
  return 2;
}

/** Only a program has a thread of its own to lend. */
export function workInCallingThread(): void {}

export function startThreads(): void {}

export async function runWork(task: WorkTask, _what: WorkNames): Promise<readonly number[]> {
  invariant(
    task.kind === 'pack' && task.parts === undefined,
    'a browser has no files to read or write by itself',
  );
  return pack(task);
}

async function pack(task: PackTask): Promise<number[]> {
  const { plain, packed, unitBytes, compression, windowBits, limitBytes } = task;
  if (task.openEnd === true) throw noOpenEnd();
  const sizes: number[] = [];
  let at = 0;
  for (let start = 0; start < plain.length; start += unitBytes) {
    const unit = plain.subarray(start, start + unitBytes);
    if (isZero(unit)) {
      sizes.push(0);
      continue;
    }
    const bytes = await compress(compression, unit, windowBits);
    if (bytes.length > limitBytes) {
      sizes.push(-1);
      continue;
    }
    packed.set(bytes, at);
    at += bytes.length;
    sizes.push(bytes.length);
  }
  return sizes;
}

/** A browser does not tell where compressed data ends. */
export async function lookAtUnit(): Promise<undefined> {}

export function fileRange(_source: ByteSource, _offsetBytes: number): undefined {
  return undefined;
}

function noOpenEnd(): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', 'a browser cannot compress for ZVHD: its data never ends', {
    structure: 'compression',
    hint: 'use Node, or the command',
  });
}
