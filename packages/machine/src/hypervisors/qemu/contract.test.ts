import { driverContract } from '../driver.contract.testkit.ts';
import { setUp } from './driver.testkit.ts';

driverContract(
  'QEMU',
  { hasGuests: true, hasScreen: true, hasCaptures: true, remembersForce: true, diskFormat: 'raw' },
  setUp,
);
