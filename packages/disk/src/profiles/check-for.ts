import { ImageError } from '../errors.ts';
import type { Format, OpenOptions } from '../formats/format.ts';
import { probeFormat } from '../formats/probe.ts';
import { formatNamed } from '../formats/registry.ts';
import type { ByteSource } from '../io/byte-source.ts';
import {
  type Consumer,
  type ConsumerFinding,
  type FormatFacts,
  fileLengthProblem,
  sizeProblem,
} from './profile.ts';

export interface ConsumerReport {
  readonly consumer: string;
  readonly format: string;
  /** A finding for each rule that is broken; empty for a file that the consumer takes. */
  readonly findings: readonly ConsumerFinding[];
}

export interface CheckForOptions extends OpenOptions {
  /** The format that the caller declares; found by its mark if absent. */
  readonly format?: string | undefined;
}

const OWN_CHECK = "the format's own rules: gantry disk check";

/**
 * Checks a file against all that a consumer is known to demand of it: that it takes the format, the format's own
 * soundness, its rules for the format, its limits. Reads tables, not data. Damage is a finding; what is thrown is
 * a StoreError, and IMAGE_LIMIT for what is too much to look at.
 */
export async function checkFor(
  source: ByteSource,
  consumer: Consumer,
  options: CheckForOptions,
): Promise<ConsumerReport> {
  const format =
    options.format === undefined ? await probeFormat(source, options.signal) : formatNamed(options.format);
  const checks = await consumer.checks();
  const check = checks.find((candidate) => candidate.format === format.name);
  if (check === undefined) {
    const taken = checks.map((candidate) => candidate.format).join(', ');
    const message = `${consumer.title} is not known to take ${format.name} files; it takes ${taken}`;
    const origin = consumer.title;
    const findings = [{ rule: 'format', origin, message, structure: 'file' }];
    return { consumer: consumer.name, format: format.name, findings };
  }
  const findings: ConsumerFinding[] = [];
  try {
    const result = await check.run(source, options);
    findings.push(...result.findings, ...limitFindings(consumer, format.name, result.facts));
  } catch (error) {
    findings.push(unreadable(error));
  }
  const damage = await soundness(source, format, options);
  if (damage !== undefined && findings.every(({ rule }) => rule !== damage.rule)) findings.push(damage);
  return { consumer: consumer.name, format: format.name, findings };
}

function limitFindings(consumer: Consumer, format: string, facts: FormatFacts): ConsumerFinding[] {
  const origin = consumer.limits?.origin ?? consumer.title;
  const { virtualSizeBytes } = facts;
  const size = virtualSizeBytes === undefined ? undefined : sizeProblem(consumer, virtualSizeBytes);
  const length = fileLengthProblem(consumer, format, facts.fileLengthBytes);
  return [
    ...(size === undefined ? [] : [{ rule: 'disk-size', origin, message: size, structure: 'disk' }]),
    ...(length === undefined ? [] : [{ rule: 'file-length', origin, message: length, structure: 'file' }]),
  ];
}

/** What the format's own check says, in one finding. */
async function soundness(
  source: ByteSource,
  format: Format,
  options: OpenOptions,
): Promise<ConsumerFinding | undefined> {
  if (format.check === undefined) return undefined;
  try {
    const { findings, corruptionCount } = await format.check(source, options);
    const first = findings.find(({ severity }) => severity === 'corruption');
    if (first === undefined) return undefined;
    const { structure, offsetBytes } = first;
    const more = corruptionCount > 1 ? ` (and ${corruptionCount - 1} more)` : '';
    const message = `the file is damaged: ${first.message}${more}`;
    return { rule: 'sound', origin: OWN_CHECK, message, structure, offsetBytes };
  } catch (error) {
    return unreadable(error);
  }
}

/** What cannot be read right is for no consumer. */
function unreadable(error: unknown): ConsumerFinding {
  if (!(error instanceof ImageError) || error.code === 'IMAGE_LIMIT') throw error;
  const { structure, offsetBytes, message } = error;
  return { rule: 'sound', origin: OWN_CHECK, message, structure, offsetBytes };
}
