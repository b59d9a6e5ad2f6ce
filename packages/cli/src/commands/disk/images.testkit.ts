import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { run } from '../../command.testkit.ts';

const KIB = 1024;

/** A raw disk of 8 MiB with data, zeros and odd places in it; the same every time. */
export function sampleDisk(): Uint8Array {
  const bytes = new Uint8Array(8 * KIB * KIB);
  fillPattern(bytes.subarray(0, 512), 'boot');
  fillPattern(bytes.subarray(1_000_000, 1_700_001), 'middle');
  fillPattern(bytes.subarray(5 * KIB * KIB, 6 * KIB * KIB), 'late');
  fillPattern(bytes.subarray(bytes.length - 777), 'end');
  return bytes;
}

function fillPattern(into: Uint8Array, seed: string): void {
  for (let at = 0, i = 0; at < into.length; at += 32, i++) {
    const block = createHash('sha256').update(`${seed} ${i}`).digest();
    into.set(block.subarray(0, Math.min(32, into.length - at)), at);
  }
}

/** Writes the sample disk as `disk.raw` and, by qemu-img, as `disk.qcow2`. */
export async function sampleFiles(folder: string): Promise<{ raw: string; qcow2: string }> {
  const raw = join(folder, 'disk.raw');
  const qcow2 = join(folder, 'disk.qcow2');
  await writeFile(raw, sampleDisk());
  await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2);
  return { raw, qcow2 };
}

/** Runs qemu-img, which must succeed; gives its standard output. */
export async function qemuImg(...args: string[]): Promise<string> {
  const { code, stdout } = await run('qemu-img', args);
  if (code !== 0) throw new Error(`qemu-img ${args.join(' ')} ended with ${code}`);
  return stdout;
}

export interface RangeServer {
  readonly address: string;
  /** Settles when a range at or after `heldFromBytes` was asked for. */
  readonly held: Promise<void>;
  /** Answers what is held, and everything from now on. */
  release(): void;
}

/** Serves bytes by ranges; answers for ranges that begin at or after `heldFromBytes` wait for `release`. */
export async function rangeServer(
  context: TestContext,
  bytes: Uint8Array,
  heldFromBytes = Number.POSITIVE_INFINITY,
): Promise<RangeServer> {
  const held = Promise.withResolvers<void>();
  const waiting: (() => void)[] = [];
  let isReleased = false;
  const server = createServer((request, response) => {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const end = to === '' ? bytes.length : Math.min(Number(to) + 1, bytes.length);
    const answer = () => answerRange(response, bytes, Number(from), end);
    if (isReleased || Number(from) < heldFromBytes) return answer();
    waiting.push(answer);
    held.resolve();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}/disk`,
    held: held.promise,
    release() {
      isReleased = true;
      for (const answer of waiting) answer();
    },
  };
}

function answerRange(response: ServerResponse, bytes: Uint8Array, from: number, end: number): void {
  response.writeHead(206, {
    'Content-Range': `bytes ${from}-${end - 1}/${bytes.length}`,
    'Content-Length': end - from,
    ETag: '"one"',
  });
  response.end(bytes.subarray(from, end));
}
