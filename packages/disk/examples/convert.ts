// node convert.ts vm.vmdk vm.qcow2
import {
  consumerNamed,
  convert,
  denyReferences,
  fileSink,
  fileSource,
  formFor,
  openDisk,
  requireUnchanged,
} from '@gantry/disk';

const [, , from = 'vm.vmdk', to = 'vm.qcow2'] = process.argv;
const source = await fileSource(from);
const disk = await openDisk(source, { references: denyReferences });
// What KVM takes best; or say it yourself: { format: 'qcow2', compression: 'zstd' }.
const form = formFor(consumerNamed('qemu'));
// Nothing stands under the name before the file is whole and on disk.
const sink = await fileSink(to, { inspect: () => requireUnchanged(source) });
const lengthBytes = await convert(disk, sink, {
  ...form,
  onProgress: ({ phase, doneBytes, totalBytes }) => console.log(phase, doneBytes, 'of', totalBytes),
});
console.log(`wrote ${lengthBytes} bytes`);
await disk.close();
await source.close();
