import type { Command } from 'commander';

export function addImageCommands(_program: Command): void {}
