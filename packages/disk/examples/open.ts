// node open.ts vm.vmdk
import { denyReferences, diskMap, fileSource, openDisk } from '@gantry/disk';

const source = await fileSource(process.argv[2] ?? 'vm.vmdk');
const disk = await openDisk(source, { references: denyReferences });
let dataBytes = 0;
for await (const { kind, lengthBytes } of diskMap(disk)) if (kind === 'data') dataBytes += lengthBytes;
console.log(`${disk.format}, a disk of ${disk.virtualSizeBytes} bytes, ${dataBytes} of them stored`);
console.log(disk.details);
for (const warning of disk.warnings) console.log(`warning: ${warning}`);
await disk.close();
await source.close();
