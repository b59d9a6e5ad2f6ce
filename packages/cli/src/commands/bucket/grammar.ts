import type { Command } from 'commander';

export function addBucketCommands(_program: Command): void {}
