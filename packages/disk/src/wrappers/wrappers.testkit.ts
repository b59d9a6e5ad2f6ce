import { spawn } from 'node:child_process';
import type { ByteSource } from '../io/byte-source.ts';
import { forwardSource, openEndedSource } from '../io/forward.ts';

/** What a program that we did not write makes of its standard input. */
export function piped(program: string, args: readonly string[], input: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(Buffer.concat(parts)) : reject(new Error(`${program} ended with ${code}`)),
    );
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

export async function* inPieces(bytes: Uint8Array, pieceBytes = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** The bytes as they arrive through a pipe, or with a length that was said. */
export function arrivingSource(bytes: Uint8Array, isLengthKnown: boolean): Promise<ByteSource> | ByteSource {
  return isLengthKnown
    ? forwardSource(inPieces(bytes), bytes.length, 'upload')
    : openEndedSource(inPieces(bytes), 'pipe');
}
