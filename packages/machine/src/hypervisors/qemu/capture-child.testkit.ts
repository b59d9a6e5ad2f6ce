/** Takes a capture, says so, and never lets go of it: `node capture-child.testkit.ts FOLDER MACHINE CAPTURE`. */
import { QemuDriver } from './driver.ts';

const [folder = '', id = '', captureId = ''] = process.argv.slice(2);
const driver = new QemuDriver({ folder, accelerator: 'tcg' });
const { takenAtMs } = await driver.capture(id, { captureId, reboot: false, graceMs: 0 });
process.stdout.write(`${takenAtMs}\n`);
setInterval(() => {}, 1000);
