import { fileSink } from './web-file.ts';

// What node-patch.ts gives, in a browser: a refusal.

export async function patchFile(
  path: string,
  _patches: readonly { readonly offsetBytes: number; readonly bytes: Uint8Array }[],
  _lengthBytes: number,
): Promise<void> {
  await fileSink(path);
}
