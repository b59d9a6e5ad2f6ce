#!/usr/bin/env node
// The old name of `gantry virt-image`, with the old grammar.
process.argv.splice(2, 0, 'virt-image');
await import('./gantry.cjs');
