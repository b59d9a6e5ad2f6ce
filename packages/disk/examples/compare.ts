// node compare.ts vm.vmdk vm.qcow2
import { compareDisks, denyReferences, diskDigest, fileSource, openDisk } from '@gantry/disk';

const [, , left = 'vm.vmdk', right = 'vm.qcow2'] = process.argv;
const sources = [await fileSource(left), await fileSource(right)] as const;
const a = await openDisk(sources[0], { references: denyReferences });
const b = await openDisk(sources[1], { references: denyReferences });
const { equal, firstDifferenceBytes } = await compareDisks(a, b);
console.log(equal ? 'the same disk' : `they differ from byte ${firstDifferenceBytes} on`);
// For disks that are not in one place: one digest for a disk in every format.
console.log(await diskDigest(a));
console.log(await diskDigest(b));
for (const open of [a, b, ...sources]) await open.close();
