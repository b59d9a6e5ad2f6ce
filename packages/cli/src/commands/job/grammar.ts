import type { Command } from 'commander';

export function addJobCommands(_program: Command): void {}
