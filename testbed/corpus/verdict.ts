import type { Expected, HostileCase } from './case.ts';
import { harm, type Trial } from './runner.ts';
import type { WayResult } from './ways.ts';

/** Everything that is not as it should be about how a case ended, one line each; empty when all is right. */
export function problemsOf(trial: Trial): string[] {
  const { hostile, results } = trial;
  const problems = harm(trial);
  const waysOf = new Map<string, string[]>();
  for (const result of results) {
    const { way, asked } = result;
    const problem = problemOf(hostile, result);
    if (problem !== undefined) waysOf.set(problem, [...(waysOf.get(problem) ?? []), way]);
    const unexpected = hostile.files === undefined && hostile.expected.codes === undefined ? asked : [];
    for (const name of unexpected) problems.push(`${way}: asked for ${JSON.stringify(name)}`);
  }
  for (const [problem, ways] of waysOf) problems.push(`${ways.join(', ')}: ${problem}`);
  return problems.map((problem) => `${hostile.name}: ${problem}`);
}

function problemOf(hostile: HostileCase, { way, end }: WayResult): string | undefined {
  // What `check` finds is its own matter: that it ends in a report or a refusal is seen before.
  if (way === 'checked' || end.kind === 'failed' || end.kind === 'none') return undefined;
  if (way === 'forward' && end.kind === 'refused' && end.code === 'IMAGE_NOT_SEQUENTIAL') return undefined;
  const expectations: Expected[] = [hostile.expected];
  if (way === 'forward' && hostile.forward !== undefined) expectations.push(hostile.forward);
  if (expectations.some((expected) => isMet(expected, hostile, { way, end }))) return undefined;
  return `${shown(end)} instead of ${expectations.map(wantedText).join(', or ')}`;
}

function wantedText({ codes = [], reads, warning }: Expected): string {
  const read = warning === undefined ? 'read' : `read with the warning ${JSON.stringify(warning)}`;
  return [...codes, ...(reads === undefined ? [] : [read])].join(' or ');
}

function isMet(
  expected: Expected,
  hostile: HostileCase,
  { way, end }: Pick<WayResult, 'way' | 'end'>,
): boolean {
  const { codes = [], reads, warning } = expected;
  if (end.kind === 'refused') return codes.includes(end.code);
  if (end.kind !== 'read') return false;
  if (reads === undefined) return hostile.onlyWhole === true && (way === 'ranges' || way === 'bytes');
  // Only a walk over everything has seen everything that can be warned of.
  if (warning === undefined || way !== 'whole') return true;
  return end.warnings.some((sentence) => sentence.includes(warning));
}

function shown(end: WayResult['end']): string {
  if (end.kind === 'refused') return `${end.code} (${end.structure}: ${end.message})`;
  if (end.kind === 'read')
    return `read ${end.sizeBytes} bytes${end.warnings.map((text) => `, "${text}"`).join('')}`;
  return end.kind;
}
