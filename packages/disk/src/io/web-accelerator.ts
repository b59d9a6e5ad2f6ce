import type { AcceleratorUse, CodecTier } from './node-accelerator.ts';

// What node-accelerator.ts gives, in a browser.

export type { AcceleratorUse, CodecTier };

export function useAccelerator(use: AcceleratorUse): void {
  if (use === 'required') throw new Error('there is no native code in a browser');
}

export function codecTier(): CodecTier {
  return { tier: 'web', name: `web (${navigator.userAgent})` };
}
