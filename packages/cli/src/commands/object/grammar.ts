import type { Command } from 'commander';

export function addObjectCommands(_program: Command): void {}
