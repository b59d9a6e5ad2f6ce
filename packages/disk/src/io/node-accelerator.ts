import { fileURLToPath } from 'node:url';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type { Accelerator } from './accelerator.ts';

// Runs in the engine's threads too: it loads nothing but the addon, and there without looking for it again.

const PACKAGE = '@gantry/native';
/** An addon that was built for other sources than these is not used. */
const INTERFACE_VERSION = 2;
/** Tells threads where the addon lies; empty for those that are to go without. */
const ADDON_PATH = 'gantry.accelerator';

/** `auto`: when it is there. `off`: never. `required`: an error without it. */
export type AcceleratorUse = 'auto' | 'off' | 'required';

let isLookedFor = false;
let loaded: Accelerator | undefined;

/**
 * The accelerator of `@gantry/native`, when that package is installed and built. The environment variable
 * GANTRY_NATIVE is an AcceleratorUse.
 */
export function accelerator(): Accelerator | undefined {
  if (!isLookedFor) useAccelerator(useOf(process.env.GANTRY_NATIVE));
  return loaded;
}

/** Decides for this thread, and for those that start afterwards. */
export function useAccelerator(use: AcceleratorUse): void {
  isLookedFor = true;
  loaded = undefined;
  if (use !== 'off') {
    try {
      loaded = load();
    } catch (error) {
      // Not installed, not built, built for another machine, not permitted: the engine goes on without.
      if (use === 'required') throw error;
    }
  }
  if (loaded === undefined) setEnvironmentData(ADDON_PATH, '');
}

/** Which codecs make the bytes. */
export interface CodecTier {
  readonly tier: 'native' | 'node' | 'web';
  /** With versions: `native (libdeflate 1.14, zstd 1.5.7)`. */
  readonly name: string;
}

/**
 * The codecs in use. Compressed output is the same, byte for byte, wherever this has the same name; what it
 * decompresses to is always the same.
 */
export function codecTier(): CodecTier {
  const native = accelerator();
  if (native !== undefined) return { tier: 'native', name: native.name };
  const { zlib, zstd } = process.versions;
  return { tier: 'node', name: `node (zlib ${zlib}, zstd ${zstd})` };
}

function useOf(value: string | undefined): AcceleratorUse {
  return value === 'off' || value === 'required' ? value : 'auto';
}

function load(): Accelerator {
  const known = isMainThread ? undefined : getEnvironmentData(ADDON_PATH);
  if (known === '') throw new Error('the main thread goes without the accelerator');
  const path = typeof known === 'string' ? known : fileURLToPath(import.meta.resolve(PACKAGE));
  const addon: { exports: Partial<Accelerator> } = { exports: {} };
  process.dlopen(addon, path);
  const { exports } = addon;
  if (exports.interfaceVersion !== INTERFACE_VERSION) {
    throw new Error(`${path} was built for another version: build ${PACKAGE} again`);
  }
  setEnvironmentData(ADDON_PATH, path);
  return exports as Accelerator;
}
