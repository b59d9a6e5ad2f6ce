import type { Command } from 'commander';

export function addServeCommand(_program: Command): void {}
