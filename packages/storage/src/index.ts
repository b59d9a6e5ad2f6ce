export { guardedFetch, type NetGuardOptions, requireGuardedAddress } from './net-guard.ts';
