import type { FormatCheck } from '../profile.ts';
import { qcow2ForQemu, rawForQemu, vmdkForQemu } from './qemu.ts';

export const checks: readonly FormatCheck[] = [qcow2ForQemu, rawForQemu, vmdkForQemu];
