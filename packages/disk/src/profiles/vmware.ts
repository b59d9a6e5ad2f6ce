import { TIB } from '../bytes/numbers.ts';
import type { Consumer } from './profile.ts';

/**
 * ESXi and vCenter: a stream for an OVA or an import, or descriptor and flat extent for a datastore. What VMware's
 * desktop programs take beyond that, ESXi does not start.
 */
export const vmware: Consumer = {
  name: 'vmware',
  title: 'VMware ESXi and vCenter',
  forms: [
    {
      format: 'vmdk',
      options: {
        subformat: ['streamOptimized'],
        adapter_type: ['lsilogic', 'buslogic', 'ide', 'pvscsi'],
        hwversion: 'any',
        tables: ['end', 'front'],
      },
      compressions: ['none', 'zlib'],
    },
    {
      format: 'vmdk',
      options: {
        subformat: ['vmfs'],
        adapter_type: ['lsilogic', 'buslogic', 'ide', 'pvscsi'],
        hwversion: 'any',
      },
      compressions: ['none'],
    },
    {
      format: 'ova',
      options: { name: 'any', cpus: 'any', memory_mib: 'any', firmware: 'any', os: 'any' },
      compressions: ['none', 'zlib'],
    },
  ],
  limits: {
    maximumBytes: 62 * TIB,
    origin: 'VMware configuration maximums: a virtual disk has 62 TB at most',
  },
  checks: async () => (await import('./checks/vmware.ts')).checks,
};
