import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestReport, LaunchProposal } from '@gantry/machine';
import { type InstanceFacts, machineOf } from '../machines/instance-machine.ts';
import { proposalJson, seenGuest } from './seen-guest.ts';

type GuestOperatingSystem = GuestReport['operatingSystems'][number];

const facts: InstanceFacts = {
  id: 'ins1',
  name: 'clock',
  architecture: 'x86_64',
  cpuCount: 1,
  memoryBytes: 2 ** 26,
  launchOptions: undefined,
  operatingSystem: '',
  network: { kind: 'isolated' },
  volumes: [],
};

/** The clock of a machine with a disk on which Windows takes the hardware's clock so. */
function clockOf(holds: 'utc' | 'local' | undefined, operatingSystem: string): string {
  const system: GuestOperatingSystem = {
    family: 'windows',
    windows: { clock: { controlSet: 'ControlSet001', ...(holds && { holds }) } },
  } as GuestOperatingSystem;
  const proposal: LaunchProposal = {
    boots: 'yes',
    firmware: 'bios',
    architecture: 'x86_64',
    guestOs: {},
    // As is proposed where nothing says it.
    clock: holds ?? 'utc',
    launchMode: 'EMULATED',
    launchOptions: {},
    warnings: [],
    reasons: [],
  };
  const json = proposalJson(proposal, { operatingSystems: [system] });
  const clock = seenGuest({ proposal_json: json })?.clock;
  return machineOf({ ...facts, operatingSystem, clock }).clock;
}

test('the clock is what the registry of Windows says, and else what the name of the system does', () => {
  assert.equal(clockOf('utc', 'Windows'), 'utc');
  assert.equal(clockOf('local', ''), 'local');
  assert.equal(clockOf(undefined, 'Windows'), 'local');
  assert.equal(clockOf(undefined, 'Debian'), 'utc');
});

test('what was noted of an image before clocks were is read', () => {
  const noted = { boots: 'yes', architecture: 'x86_64', launchMode: 'EMULATED', warnings: [] };
  assert.deepEqual(seenGuest({ proposal_json: JSON.stringify(noted) }), noted);
  assert.equal(machineOf({ ...facts, operatingSystem: 'Windows' }).clock, 'local');
});
