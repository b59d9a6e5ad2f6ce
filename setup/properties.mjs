// Loaded before each test file: all properties of a run draw from one seed, so that another run can draw the same.

import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env.GANTRY_TEST_SEED) });
