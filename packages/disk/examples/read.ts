// node read.ts vm.vmdk
import { denyReferences, fileSource, openDisk } from '@gantry/disk';

const source = await fileSource(process.argv[2] ?? 'vm.vmdk');
const disk = await openDisk(source, { references: denyReferences });
const sector = new Uint8Array(512);
await disk.read(0, sector);
const isBootable = sector[510] === 0x55 && sector[511] === 0xaa;
console.log(isBootable ? 'has a boot sector' : 'has no boot sector');
await disk.close();
await source.close();
