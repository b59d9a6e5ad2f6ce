import { spawn } from 'node:child_process';
import { join } from 'node:path';
import {
  buildAccelerator,
  bundleCommand,
  ensureDependencies,
  projectEnvironment,
  root,
} from './dependencies.mjs';

ensureDependencies();
buildAccelerator();
bundleCommand();
const command = join(root, 'packages', 'cli', 'bin', 'gantry.cjs');
// Those that the command would start itself again with.
const flags = ['--conditions=source', '--max-semi-space-size=6'];
const options = process.argv.slice(2);
const defaults = options.some((option) => /^--data(=|$)/.test(option)) ? [] : ['--data', join(root, 'data')];
const service = spawn('node', [...flags, command, 'serve', ...defaults, ...options], {
  env: projectEnvironment(),
  stdio: 'inherit',
});
// The terminal sends SIGINT to the service too; a supervisor's SIGTERM comes here alone.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => service.kill('SIGTERM'));
service.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === null ? 1 : 128);
});
