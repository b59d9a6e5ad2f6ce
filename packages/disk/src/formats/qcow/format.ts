import { hasMagic } from '../../bytes/fields.ts';
import type { Format } from '../format.ts';
import { checkQcow } from './check.ts';
import { QCOW_MAGIC } from './header.ts';
import { planQcow, qcowPlacement } from './layout.ts';
import { openQcow } from './reader.ts';

/** QEMU copy-on-write, version 1: block/qcow.c of QEMU, which is all the specification that there is. */
export const qcow: Format = {
  name: 'qcow',
  title: 'qcow version 1',
  extensions: ['qcow'],
  recognise: ({ head }) => hasMagic(head, QCOW_MAGIC),
  open: openQcow,
  plan: planQcow,
  placement: qcowPlacement,
  check: checkQcow,
};
