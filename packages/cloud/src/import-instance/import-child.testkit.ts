import { type ImportWish, importInstance } from './import.ts';

/** Runs an import in a process of its own, to be killed. */
await importInstance(JSON.parse(process.argv[2] ?? '') as ImportWish, {
  environment: {},
  signal: new AbortController().signal,
  parallel: 4,
  onProgress() {},
  note() {},
});
