/** Defines, starts and stops a machine until it is killed: `node life-child.testkit.ts FOLDER MACHINE DEFINITION`. */
import { readFile } from 'node:fs/promises';
import { QemuDriver } from './driver.ts';

const [folder = '', id = '', definition = ''] = process.argv.slice(2);
const driver = new QemuDriver({ folder, accelerator: 'tcg' });
const machine = JSON.parse(await readFile(definition, 'utf8'));
process.stdout.write('ready\n');
for (;;) {
  await driver.define(id, machine);
  await driver.start(id);
  await driver.capture(id, { captureId: 'one', reboot: true, graceMs: 0 });
  await driver.stop(id, { graceMs: 0 });
}
