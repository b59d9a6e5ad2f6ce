import { serve } from '@gantry/service';

/** The service as a process of its own, for tests that kill it: DATA_FOLDER; prints its address as a line. */
const [dataFolder = ''] = process.argv.slice(2);
const service = await serve({
  dataFolder,
  listen: '127.0.0.1:0',
  logLevel: 'warn',
  allowNetworks: ['127.0.0.1'],
});
process.on('SIGTERM', () => void service.stop());
console.log(service.address);
