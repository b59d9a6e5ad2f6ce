import { pipeline } from 'node:stream/promises';
import { connect } from '../../client/client.ts';
import { openInstanceSocket } from '../../client/instance-socket.ts';
import { findInstance } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { OutputClosed, writeAll } from '../../output/write.ts';

/** Ctrl-], as telnet and virsh have it. */
const LEAVE = 0x1d;

/**
 * A terminal is handed over as it is: what is typed goes to the guest, Ctrl-C too. Other standard input is sent, and
 * the conversation ends when it does; so it does when the machine ends.
 */
export async function run(context: Context, [idOrName]: readonly [string]): Promise<undefined> {
  const { progress, signal } = context;
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const machine = await openInstanceSocket(client, id, 'console');
  const { stdin } = process;
  const isTerminal = stdin.isTTY === true;
  const onAbort = () => machine.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  progress.note(`connected to the first serial port${isTerminal ? '; Ctrl-] leaves it' : ''}`);
  if (isTerminal) stdin.setRawMode(true);
  try {
    await Promise.race([pipeline(typedUntil(stdin, isTerminal), machine), shown(machine)]);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof OutputClosed) && !isEnd(error)) throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    if (isTerminal) stdin.setRawMode(false);
    stdin.destroy();
    machine.destroy();
  }
}

/** What is typed, until somebody leaves. */
async function* typedUntil(
  stdin: AsyncIterable<Uint8Array>,
  isTerminal: boolean,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of stdin) {
    const at = isTerminal ? chunk.indexOf(LEAVE) : -1;
    if (at < 0) yield chunk;
    else {
      if (at > 0) yield chunk.subarray(0, at);
      return;
    }
  }
}

async function shown(machine: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of machine) await writeAll(process.stdout, chunk);
}

/** The other side ended, between two messages or within one. */
function isEnd(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR';
}
